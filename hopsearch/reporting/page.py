"""The report as one self-contained HTML file: no network, no other files; plotly is included."""

import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from plotly.io import to_json
from plotly.offline import get_plotlyjs

from hopsearch.core.terminal_tables import without_section
from hopsearch.reporting.document import (
    beside_of,
    compared_cells,
    extra_costs,
    front_of,
    ranked,
    spoken,
    summary_of,
    winner_of,
    write_whole,
)
from hopsearch.reporting.facts import Facts
from hopsearch.reporting.sections import (
    Section,
    parameter_sections,
    research_sections,
    search_sections,
    winner_sections,
)
from hopsearch.study import StudyView

_CHAPTERS = ("The winner", "The search", "The settings", "The models")


def write_page(view: StudyView, facts: Facts, others: Sequence[Facts], target: Path) -> Path:
    """Write the page.

    Args:
        view: the study.
        facts: its numbers.
        others: studies to compare it with.
        target: the file.

    Raises:
        StudyError: it cannot be written.
    """
    chapters = [
        list(winner_sections(view, facts)),
        list(search_sections(view, facts, others)),
        list(parameter_sections(view)),
        list(research_sections(view)),
    ]
    drawn = {
        one.key: one.figure for sections in chapters for one in sections if one.figure is not None
    }
    figures = (
        "{"
        + ",".join(
            f"{json.dumps(key)}:{to_json(figure, validate=False)}" for key, figure in drawn.items()
        )
        + "}"
    )
    body = [
        _head(facts),
        _table(facts, view),
        _failures(facts),
        _compared([facts, *others]) if others else "",
    ]
    for title, sections in zip(_CHAPTERS, chapters, strict=True):
        body += [f"<h2>{title}</h2>"] if sections else []
        body += [_section(one) for one in sections]
    body.append(_origin(facts))
    text = _document(facts.study["name"], "\n".join(body), facts, figures)
    return write_whole(target, text)


def _document(title: str, body: str, facts: Facts, figures: str) -> str:
    here = resources.files("hopsearch.reporting")
    css, script = (
        (here / "page.css").read_text(encoding="utf-8"),
        (here / "page.js").read_text(encoding="utf-8"),
    )
    # The policy enforces that the page cannot access the network, whatever it contains.
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src "
        "data: blob:; font-src data:"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta '
        f'charset="utf-8">\n<title>{_text(title)} · hopsearch</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width">\n<link rel="icon" '
        f'href="data:,">\n<style>\n{css}</style>\n</head>\n'
        f"<body>\n{body}\n"
        f'<script type="application/json" '
        f'id="facts">{_inside(json.dumps(facts.to_dict()))}</script>\n'
        f'<script type="application/json" id="figures">{_inside(figures)}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _head(facts: Facts) -> str:
    study = facts.study
    best = next((row for row in facts.leaderboard if row["value"] is not None), None)
    balanced = (facts.winner or {}).get("test_balanced_acc")
    cards = [
        ("best " + study["objectives"][0]["name"], "-" if best is None else f"{best['value']:.4f}"),
        ("winner's test accuracy", f"{facts.winner['test_acc']:.4f}" if facts.winner else "-"),
        *([("its balanced accuracy", f"{balanced:.4f}")] if balanced is not None else []),
        ("trials", str(len(facts.leaderboard))),
        ("epochs trained", str(facts.cost["epochs"])),
        ("saved by early stopping", f"{facts.cost['saved_share']:.0%}"),
        ("of training", spoken(facts.cost["training_seconds"])),
    ]
    shown = "".join(
        f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>'
        for name, value in cards
    )
    source = study["data"].get("source", "")
    aims = " and the ".join(
        f"{one['direction'].removesuffix('imize')}imum of {one['name']}"
        for one in study["objectives"]
    )
    unfinished = facts.counts["running"] + facts.counts["paused"]
    running = (
        f" {unfinished} trials are not finished: snapshot of a running study." if unfinished else ""
    )
    winner = f"<p><b>Winner.</b> {_text(winner_of(facts))}</p>" if facts.winner else ""
    return (
        f"<h1>{_text(study['name'])}</h1>\n"
        f'<p class="soft">A search of {_text(source)} for the {_text(aims)}, seed {study["seed"]}; '
        f"written {_text(facts.written)}.{running}</p>\n"
        f'<nav><a href="#leaderboard">Leaderboard</a><a href="#history">Search</a><a '
        f'href="#importance">Settings</a>'
        f'<a href="#asymmetry">Models</a><a href="#origin">Origin</a></nav>\n'
        f'<div class="cards">{shown}</div>\n<p>{_text(summary_of(facts))}</p>\n{winner}'
    )


def _table(facts: Facts, view: StudyView) -> str:
    title = '<h2 id="leaderboard">Leaderboard</h2>'
    if not facts.leaderboard:
        return title + '<p class="missing">No trials yet.</p>'
    names = facts.study["parameters"]
    costs = extra_costs(facts)
    heads = ["rank", "trial", "state", facts.study["objectives"][0]["name"], *beside_of(facts)]
    heads += ["best epoch", "epochs", "seconds", "params", *costs]
    files = dict.fromkeys(facts.dropped, "dropped")
    files |= {
        int(file.parent.name): f'<a href="trials/{file.parent.name}/">checkpoints</a>'
        for file in view.folder.glob("trials/*/best.pt")
    }
    head = "".join(
        f"<th{_word_class(name)}>{_text(without_section(name))}</th>"
        for name in (*heads, *names, "files")
    )
    rows = "\n".join(_row(row, facts, files.get(row["trial"], "")) for row in facts.leaderboard)
    note = "Click a header to sort, a trial for details."
    note += (
        " A trial's value is the best on its curve; the winner's includes the training after "
        "the search."
    )
    note += f" {front_of(facts)}" if front_of(facts) else ""
    if facts.dropped:
        again = f"python -m hopsearch.train from={facts.study['name']}#<trial>"
        note += (
            f" Checkpoints of trials that finished below the kept ones are deleted "
            f"(checkpoint.keep); {again} retrains one."
        )
    return (
        f'{title}<p class="soft">{_text(note)}</p><div class="wide"><table '
        f'class="sortable"><thead><tr>{head}</tr></thead>'
        f'<tbody>\n{rows}\n</tbody></table></div>\n<pre id="detail" hidden></pre>'
    )


def _row(row: dict[str, Any], facts: Facts, files: str) -> str:
    value = "" if row["value"] is None else f"{row['value']:.4f}"
    number = row["trial"]
    cells = [
        f'<td data-value="{row["rank"] or ""}">{ranked(row, facts)}</td>',
        f'<td data-value="{number}"><a href="#trial-{number}" id="row-{number}">{number}</a></td>',
        _cell(row["state"]),
        f'<td data-value="{"" if row["value"] is None else row["value"]}">{value}</td>',
        *(f"<td{_number(row['peak'].get(name))}</td>" for name in beside_of(facts)),
        *(_cell(row[name] or "") for name in ("best_epoch", "epochs")),
        _cell(round(row["seconds"], 1)),
        *(_cell(row[name] or "") for name in ("params", *extra_costs(facts))),
        *(_cell(row["parameters"].get(name, "")) for name in facts.study["parameters"]),
        f'<td class="word">{files}</td>',
    ]
    return f'<tr class="{row["state"]}">{"".join(cells)}</tr>'


def _cell(value: Any) -> str:
    if isinstance(value, bool | str):
        return f'<td class="word">{_text(value)}</td>' if value != "" else "<td></td>"
    text = (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,}"
        if value >= 10_000
        else str(value)
    )
    return f'<td data-value="{value}">{text}</td>'


def _number(value: float | None) -> str:
    return ">" if value is None else f' data-value="{value}">{value:.4f}'


def _word_class(name: str) -> str:
    return ' class="word"' if name in ("state", "files") else ""


def _failures(facts: Facts) -> str:
    if not facts.failures and not facts.refused:
        return ""
    rows = [
        f'<tr><td class="word">{_text(failure["reason"])}</td><td>{len(failure["trials"])}</td>'
        f'<td class="word">{_links(failure["trials"][:20])}</td></tr>'
        for failure in facts.failures
    ]
    rows += [
        f'<tr><td class="word">rejected: {_text(reason)}</td><td>{n}</td><td></td></tr>'
        for reason, n in facts.refused.items()
    ]
    head = '<tr><th class="word">reason</th><th>number</th><th class="word">trials</th></tr>'
    return (
        f'<h2 id="failures">Failures and rejections</h2><div '
        f'class="wide"><table>{head}{"".join(rows)}</table></div>'
    )


def _links(numbers: Iterable[int]) -> str:
    return ", ".join(_link(number) for number in numbers)


def _link(number: int) -> str:
    return f'<a href="#trial-{number}">{number}</a>'


def _compared(all_facts: Sequence[Facts]) -> str:
    heads = ("study", "trials", "epochs", "best", "winner's test_acc", "training", "saved")
    head = "".join(f"<th>{name}</th>" for name in heads)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in compared_cells(facts)) + "</tr>"
        for facts in all_facts
    )
    return (
        f'<h2 id="compared">Compared</h2><div '
        f'class="wide"><table><tr>{head}</tr>{rows}</table></div>'
    )


def _section(one: Section) -> str:
    # The text is ours and may contain markup; all user data is in the figure.
    if one.figure is None:
        inside = f'<p class="missing">{one.missing}</p>'
    else:
        inside = f'<div data-figure="{one.key}" style="height:{one.figure.layout.height}px"></div>'
    return f'<h3 id="{one.key}">{one.title}</h3>\n<p class="soft">{one.text}</p>\n{inside}'


def _origin(facts: Facts) -> str:
    return f'<h2 id="origin">Origin</h2>\n<pre>{_text(json.dumps(facts.study, indent=1))}</pre>'


def _text(value: Any) -> str:
    return html.escape(str(value))


def _inside(text: str) -> str:
    # JSON inside a script element: no "</script>" and no comment may start in it.
    return text.replace("<", "\\u003c")
