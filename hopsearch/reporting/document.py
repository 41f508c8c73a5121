"""The report for other programs and for notes: JSON with every fact, Markdown with what is most
asked for.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from hopsearch.core.atomic_writes import written_whole
from hopsearch.core.errors import StudyError
from hopsearch.core.metrics import Metric, metrics_from
from hopsearch.reporting.facts import Facts, TrialFacts

_TOP = 10


def write_json(facts: Facts, others: Sequence[Facts], target: Path) -> Path:
    """Write all facts, and those of the studies compared with under ``compare``."""
    whole = facts.to_dict() | {"compare": [other.to_dict() for other in others]}
    return write_whole(target, json.dumps(whole, indent=1) + "\n")


def write_markdown(facts: Facts, others: Sequence[Facts], target: Path) -> Path:
    """Write a summary, the best trials, failures and the winner."""
    parts = [
        f"# Study {facts.study['name']}",
        summary_of(facts),
        _winner(facts),
        _leaderboard(facts),
        _failures(facts),
    ]
    if others:
        parts.append("## Compared\n\n" + "\n".join(compared_lines([facts, *others])))
    return write_whole(target, "\n\n".join(part for part in parts if part) + "\n")


def summary_of(facts: Facts) -> str:
    """What the study is and cost, in a few sentences."""
    counts = facts.counts
    cost = facts.cost
    refused = ("infeasible", "duplicate")
    states = ", ".join(
        f"{count} {name}" for name, count in counts.items() if count and name not in refused
    )
    text = f"{states or 'No trials yet'}."
    if facts.refused:
        text += f" {sum(facts.refused.values())} proposals were rejected before training."
    if cost["epochs"]:
        text += (
            f" {cost['epochs']} epochs were trained in {spoken(cost['training_seconds'])} of "
            f"training"
            f" ({spoken(cost['wall_seconds'])} of wall-clock time)."
        )
    if cost["wasted_epochs"]:
        text += (
            f" {cost['wasted_epochs']} of these epochs are on no curve: their trial failed or its "
            f"worker was lost."
        )
    if counts["pruned"]:
        text += (
            f" Early stopping saved {cost['saved_share']:.0%} of the {cost['full_epochs']} epochs "
            f"that the same trials would have"
            f" taken, about {spoken(cost['saved_seconds'])} of training."
        )
    for judgement in facts.judgements:
        text += f" {judgement['words'][0].upper()}{judgement['words'][1:]}."
    if cost["finishing_epochs"]:
        spent = spoken(cost["finishing_seconds"])
        text += (
            f" After the search {cost['finishing_epochs']:g} more epochs ({spent} of training) "
            f"were spent on the winner."
        )
    if facts.baseline and facts.baseline["words"]:
        words = facts.baseline["words"]
        text += f" {words[0].upper()}{words[1:]}."
    return text


def winner_of(facts: Facts) -> str:
    """The winner in a sentence; empty before there is one."""
    winner = facts.winner
    if not winner:
        return ""
    text = (
        f"Trial {winner['trial']}: {winner['values']}. The test split was read for "
        f"{winner['test_reads']} winner(s)."
    )
    if part := facts.study["data"].get("test part"):
        text += f" It is: {part}."
    return " ".join([text, *([winner["chosen"]] if winner["chosen"] else []), *winner["verdicts"]])


def extra_costs(facts: Facts) -> list[str]:
    """Costs that are searched for and have no column of their own in every leaderboard."""
    return [
        objective["name"]
        for objective in facts.study["objectives"][1:]
        if objective["name"] != "n_params"
    ]


def beside_of(facts: Facts) -> list[str]:
    """Accuracies that stand in the leaderboard beside the objective, as far as they are known."""
    names = [one["name"] for one in facts.study["metrics"] if one["shown"]]
    return [name for name in names if any(name in row["peak"] for row in facts.leaderboard)]


def ranked(row: TrialFacts, facts: Facts) -> str:
    """A row's rank, with a star on the Pareto front of several objectives; empty without a
    value.
    """
    several = len(facts.study["objectives"]) > 1
    return f"{row['rank']}{' *' if several and row['front'] else ''}" if row["rank"] else ""


def front_of(facts: Facts) -> str:
    """What the star means; empty where there is one objective or no trial with a value."""
    objectives = facts.study["objectives"]
    front = sum(row["front"] for row in facts.leaderboard)
    if len(objectives) == 1 or not front:
        return ""
    words = ", ".join(
        f"{one['name']} {'up' if one['direction'] == 'maximize' else 'down'}" for one in objectives
    )
    return f"* Pareto front ({words}): {front} trials; no other trial is better in all objectives."


def compared_lines(all_facts: Sequence[Facts]) -> list[str]:
    """A Markdown table of studies."""
    heads = compared_heads(all_facts)
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(compared_cells(facts))} |" for facts in all_facts]


def compared_heads(all_facts: Sequence[Facts]) -> tuple[str, ...]:
    """The heads of a table of studies."""
    tested = ", ".join(dict.fromkeys(_first_metric(facts).of_test for facts in all_facts))
    return ("study", "trials", "epochs", "best", f"winner's {tested}", "training", "saved")


def _first_metric(facts: Facts) -> Metric:
    return metrics_from(facts.study["metrics"])[0]


def compared_cells(facts: Facts) -> list[str]:
    """A study's cells in a table of studies."""
    best = facts.leaderboard[0]["value"] if facts.leaderboard else None
    trials = len(facts.leaderboard)
    return [
        facts.study["name"],
        str(trials),
        str(facts.cost["epochs"]),
        "" if best is None else f"{best:.4f}",
        f"{facts.winner[_first_metric(facts).of_test]:.4f}" if facts.winner else "",
        spoken(facts.cost["training_seconds"]),
        f"{facts.cost['saved_share']:.0%}",
    ]


def spoken(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def write_whole(target: Path, text: str) -> Path:
    """Write a file whole or not at all.

    Raises:
        StudyError: it cannot be written.
    """
    try:
        with written_whole(target) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(
            str(target),
            f"must be writable, got: {error.strerror}",
            "Choose another file with to=<file>",
        ) from error
    return target


def _leaderboard(facts: Facts) -> str:
    rows = facts.leaderboard[:_TOP]
    if not rows:
        return ""
    names = facts.study["parameters"]
    costs = extra_costs(facts)
    beside = beside_of(facts)
    head = [
        "rank",
        "trial",
        "state",
        facts.study["objectives"][0]["name"],
        *beside,
        "epochs",
        "n_params",
        *costs,
        *names,
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        others = [f"{row['peak'][name]:.4f}" if name in row["peak"] else "" for name in beside]
        cells: list[object] = [
            ranked(row, facts) or "-",
            row["trial"],
            row["state"],
            value,
            *others,
            row["epochs"],
            row["n_params"],
        ]
        cells += ["" if row.get(name) is None else _short(row.get(name)) for name in costs]
        cells += [_short(row["parameters"].get(name, "")) for name in names]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n\n".join(
        ["## Leaderboard", "\n".join(lines), *([f"\\{front_of(facts)}"] if front_of(facts) else [])]
    )


def _failures(facts: Facts) -> str:
    lines = [
        f"* {failure['reason']}: trials {', '.join(map(str, failure['trials']))}"
        for failure in facts.failures
    ]
    return "## Failures\n\n" + "\n".join(lines) if lines else ""


def _winner(facts: Facts) -> str:
    if not facts.winner:
        return ""
    rows = facts.winner.get("recalls", [])[:_TOP]
    lines = [
        f"| {row['class']} | {row['images']} | {row['recall']:.4f} | {row['low']:.4f} to "
        f"{row['high']:.4f} |"
        for row in rows
    ]
    table = [
        "",
        "Recall on the test split, worst classes first:",
        "",
        "| class | images | recall | 95 % |",
        "|---|---|---|---|",
        *lines,
    ]
    return "\n".join([f"## Winner\n\n{winner_of(facts)}", *(table if lines else [])])


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
