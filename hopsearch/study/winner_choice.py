"""The choice of a winner among tied trials, as data for the study and in words."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

from hopsearch.core.intervals import plus_minus
from hopsearch.study.reader import StudyView
from hopsearch.study.record.journal_keys import REPEATS
from hopsearch.study.record.trial import TrialRecord
from hopsearch.study.significance import images_behind

Values = Sequence[float | None]


class Election(TypedDict):
    """How a winner was chosen, see `elect`."""

    chosen: int
    first: int
    tied: list[int]
    values: dict[str, list[float | None]]
    metric: str
    images: float | None
    sign: int


def elect(view: StudyView, tied: Sequence[TrialRecord], values: Mapping[int, Values]) -> Election:
    """Choose the winner, and describe how, as plain JSON for the study.

    Args:
        view: the study.
        tied: trials that do not differ significantly, best first.
        values: of each candidate's retrainings with fresh seeds; None for one that failed. Empty if
            nothing was retrained.

    Returns:
        ``chosen``; ``first``, the trial that was ahead in the search; ``tied``; ``values``;
        ``metric`` and the ``images`` it was measured on (None if not an accuracy).
    """
    first = tied[0].number
    chosen = (
        min(values, key=lambda number: (*_standing(values[number], view.sign), number != first))
        if values
        else first
    )
    images = images_behind(view, view.objective)
    return {
        "chosen": chosen,
        "first": first,
        "tied": [record.number for record in tied],
        "values": {str(number): list(known) for number, known in values.items()},
        "metric": view.objective,
        "images": None if images is None else round(images, 1),
        "sign": view.sign,
    }


def election_words(election: Election | None, items: str = "images") -> str:
    """How the winner was chosen, in sentences; empty if one trial was clearly ahead, or for an
    older study.

    Args:
        election: see `elect`.
        items: what the data are called.
    """
    if not election:
        return ""
    first = election["first"]
    others = [number for number in election["tied"] if number != election["first"]]
    if not election["values"]:
        return _tie_words(first, others, election, items) if others else ""
    why = (
        "did not differ significantly"
        if election["images"]
        else "were best; the metric has no significance test"
    )
    repeats = len(next(iter(election["values"].values())))
    lines = [f"trial {number} {_spread(known)}" for number, known in _best_first(election)]
    numbers = _listed([int(number) for number in election["values"]])
    text = f"Trials {numbers} {why}, so each was trained {repeats} times with fresh seeds "
    kind = "mean ± standard deviation" if any("±" in line for line in lines) else "mean"
    text += f"({election['metric']}, {kind}): {', '.join(lines)}."
    if len(election["tied"]) > len(election["values"]):
        text += (
            f" {len(election['tied']) - len(election['values'])} more trials tie and were not "
            f"retrained (finish.candidates)."
        )
    changed = f"changed from trial {first} to" if election["chosen"] != first else "stayed"
    text += f" The choice {changed} trial {election['chosen']}."
    return f"{text} {_single_words(election, repeats)}"


def finishing_cost(view: StudyView) -> dict[str, float]:
    """Epochs and seconds of training after the search: for repeats and for the winner."""
    spent = list(view.optuna.user_attrs.get(REPEATS, {}).values())
    winner = view.winner or {}
    return {
        "finishing_epochs": sum(one["epochs"] for one in spent) + winner.get("finish_epochs", 0),
        "finishing_seconds": sum(one["seconds"] for one in spent)
        + winner.get("finish_seconds", 0.0),
    }


def _tie_words(first: int, others: list[int], election: Election, items: str) -> str:
    many = f"trials {_listed(others)}" if len(others) > 1 else f"trial {others[0]}"
    return (
        f"Trial {first} is ahead of {many} by no more than chance ({election['metric']}, "
        f"{election['images']:g} {items}). "
        "finish.repeats=3 retrains the best of them with fresh seeds and picks the best mean."
    )


def _single_words(election: Election, repeats: int) -> str:
    # How reliable a choice after one training is: which candidate each single round would have
    # chosen.
    rounds = [
        min(
            election["values"],
            key=lambda number: _standing([election["values"][number][at]], election["sign"]),
        )
        for at in range(repeats)
    ]
    other = sum(int(number) != election["chosen"] for number in rounds)
    return (
        f"With one training each, another trial would have been chosen in {other} of {repeats} "
        f"rounds."
    )


def _standing(values: Values, sign: int) -> tuple[int, float]:
    # A configuration that fails with another seed ranks below all that do not.
    known = [value for value in values if value is not None]
    return len(values) - len(known), -sign * statistics.fmean(known) if known else 0.0


def _best_first(election: Election) -> list[tuple[str, Values]]:
    return sorted(election["values"].items(), key=lambda item: _standing(item[1], election["sign"]))


def _spread(values: Values) -> str:
    known = [value for value in values if value is not None]
    failed = f", {len(values) - len(known)} failed" if len(known) < len(values) else ""
    if not known:
        return "all failed"
    deviation = plus_minus(statistics.stdev(known)) if len(known) > 1 else ""
    return f"{statistics.fmean(known):.4f}{deviation}{failed}"


def _listed(numbers: Sequence[int], most: int = 8) -> str:
    return ", ".join(map(str, numbers[:most])) + (
        f" and {len(numbers) - most} more" if len(numbers) > most else ""
    )
