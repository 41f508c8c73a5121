"""The report as one self-contained HTML file: no network, no other files; plotly is included.

Its markup is in ``page.html``, which escapes all that it is given but for what it marks as safe.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from hopsearch.core.metrics import metrics_from
from hopsearch.core.terminal_tables import without_section
from hopsearch.reporting.document import (
    beside_of,
    compared_cells,
    compared_heads,
    extra_costs,
    front_of,
    ranked,
    spoken,
    summary_of,
    winner_of,
    write_whole,
)
from hopsearch.reporting.facts import Facts, TrialFacts
from hopsearch.reporting.sections import (
    Section,
    parameter_sections,
    research_sections,
    search_sections,
    winner_sections,
)
from hopsearch.space import DEFAULT_TASK
from hopsearch.study import StudyView

_CHAPTERS = ("The winner", "The search", "The settings", "The models")


@dataclass(frozen=True)
class _Cell:
    """A cell of the leaderboard.

    Attributes:
        text: what is shown.
        sort: what a click on the column's head sorts by; None: by the text.
        word: whether it is a word, not a number.
    """

    text: str = ""
    sort: Any = None
    word: bool = False


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
    text = _template("page.html").render(
        study=facts.study,
        written=facts.written,
        **_head(facts),
        **_table(facts, view),
        failures=facts.failures,
        refused=facts.refused,
        compared_heads=compared_heads([facts, *others]),
        compared=[compared_cells(one) for one in (facts, *others)] if others else [],
        chapters=list(zip(_CHAPTERS, chapters, strict=True)),
        origin=json.dumps(facts.study, indent=1),
        css=_file("page.css"),
        script=_file("page.js"),
        plotly=get_plotlyjs(),
        facts=_inside(json.dumps(facts.to_dict())),
        figures=_inside(_figures(chapters)),
    )
    return write_whole(target, text)


def _file(name: str) -> str:
    return (resources.files("hopsearch.reporting") / name).read_text(encoding="utf-8")


def _template(name: str) -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["short"] = without_section
    return environment.from_string(_file(name))


def _figures(chapters: Sequence[Sequence[Section]]) -> str:
    drawn = {
        one.key: one.figure for sections in chapters for one in sections if one.figure is not None
    }
    pairs = (
        f"{json.dumps(key)}:{to_json(figure, validate=False)}" for key, figure in drawn.items()
    )
    return "{" + ",".join(pairs) + "}"


def _head(facts: Facts) -> dict[str, object]:
    study = facts.study
    best = next((row for row in facts.leaderboard if row["value"] is not None), None)
    known = facts.winner or {}
    metrics = metrics_from(study["metrics"])
    tested = [one for one in metrics if one.shown and one.of_test in known]
    cards = [
        ("best " + study["objectives"][0]["name"], "-" if best is None else f"{best['value']:.4f}"),
        *[(f"winner's {one.of_test}", f"{known[one.of_test]:.4f}") for one in tested],
        *([] if tested else [(f"winner's {metrics[0].of_test}", "-")]),
        ("trials", str(len(facts.leaderboard))),
        ("epochs trained", str(facts.cost["epochs"])),
        ("saved by early stopping", f"{facts.cost['saved_share']:.0%}"),
        ("of training", spoken(facts.cost["training_seconds"])),
    ]
    aims = " and the ".join(
        f"{one['direction'].removesuffix('imize')}imum of {one['name']}"
        for one in study["objectives"]
    )
    return {
        "cards": cards,
        "aims": aims,
        "unfinished": facts.counts["running"] + facts.counts["paused"],
        "summary": summary_of(facts),
        "winner": winner_of(facts),
    }


def _table(facts: Facts, view: StudyView) -> dict[str, object]:
    heads = ["rank", "trial", "state", facts.study["objectives"][0]["name"], *beside_of(facts)]
    heads += ["best epoch", "epochs", "seconds", "n_params", *extra_costs(facts)]
    folders = {
        int(file.parent.name): file.parent.name for file in view.folder.glob("trials/*/best.pt")
    }
    rows = [
        {
            "trial": row["trial"],
            "rank": row["rank"] or "",
            "shown": ranked(row, facts),
            "state": row["state"],
            "cells": _cells(row, facts),
            "folder": folders.get(row["trial"], ""),
            "dropped": row["trial"] in facts.dropped and row["trial"] not in folders,
        }
        for row in facts.leaderboard
    ]
    return {
        "heads": [*heads, *facts.study["parameters"], "files"],
        "rows": rows,
        "note": _note(facts),
    }


def _note(facts: Facts) -> str:
    note = "Click a header to sort, a trial for details."
    note += (
        " A trial's value is the best on its curve; the winner's includes the training after "
        "the search."
    )
    note += f" {front_of(facts)}" if front_of(facts) else ""
    if facts.dropped:
        again = ""
        if facts.study["task"] == DEFAULT_TASK:  # the verb trains no other
            again = f"; python -m hopsearch.train from={facts.study['name']}#<trial> retrains one"
        note += (
            f" Checkpoints of trials that finished below the kept ones are deleted "
            f"(checkpoint.keep){again}."
        )
    return note


def _cells(row: TrialFacts, facts: Facts) -> list[_Cell]:
    value = row["value"]
    return [
        _cell(row["state"]),
        _Cell("", "") if value is None else _Cell(f"{value:.4f}", value),
        *(_measured(row["peak"].get(name)) for name in beside_of(facts)),
        *(_cell(row.get(name) or "") for name in ("best_epoch", "epochs")),
        _cell(round(row["seconds"], 1)),
        *(_cell(row.get(name) or "") for name in ("n_params", *extra_costs(facts))),
        *(_cell(row["parameters"].get(name, "")) for name in facts.study["parameters"]),
    ]


def _cell(value: Any) -> _Cell:
    if isinstance(value, bool | str):
        return _Cell(str(value), word=value != "")
    text = (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,}"
        if value >= 10_000
        else str(value)
    )
    return _Cell(text, value)


def _measured(value: float | None) -> _Cell:
    return _Cell() if value is None else _Cell(f"{value:.4f}", value)


def _inside(text: str) -> str:
    # JSON inside a script element: no "</script>" and no comment may start in it.
    return text.replace("<", "\\u003c")
