"""Reports in order of arrival, with the epochs and the time elapsed.

The journal records the order for studies of any version; it has timestamps at the start and end of
trials, and reports in between are interpolated by their training time. For other storages the order
is estimated from the decisions and the trials' speed.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hopsearch.study.persistence.journal_file import read_journal
from hopsearch.study.persistence.stores import JOURNAL
from hopsearch.study.reader import StudyView
from hopsearch.study.record.journal_keys import CONTINUES, PROGRESS
from hopsearch.study.record.trial import Decision, Promotion, State, TrialRecord
from hopsearch.study.stopping.decisions import in_order


@dataclass(frozen=True)
class Report:
    """A reported value, with the time of its arrival.

    Attributes:
        number: the trial.
        epoch: its epoch.
        value: the objective at that epoch.
        epochs: trained until then by all trials, including this one.
        seconds: of search until then, from the start of the first trial, without pauses between
            runs.
    """

    number: int
    epoch: int
    value: float
    epochs: int
    seconds: float


def chronicle(view: StudyView) -> list[Report]:
    """All reports of the study's own trials, in order of arrival."""
    records = {
        number: record for number, record in view.records.items() if record.state != State.INHERITED
    }
    order = _of_journal(view, records)
    if len(order) < sum(len(record.curve) for record in records.values()):
        order = _of_records(records.values())
    return [
        Report(number, epoch, records[number].curve[epoch], turn, seconds)
        for turn, (number, epoch, seconds) in enumerate(order, start=1)
    ]


@dataclass(frozen=True)
class _Line:
    """A line of the journal with an epoch or a timestamp."""

    number: int
    epoch: int = 0
    trained: float = 0.0
    time: float | None = None


def _of_journal(
    view: StudyView, records: Mapping[int, TrialRecord]
) -> list[tuple[int, int, float]]:
    journal = view.folder / JOURNAL
    if not journal.exists():
        return []
    order: list[tuple[int, int, float]] = []
    before = 0.0
    for _, run in itertools.groupby(_lines(read_journal(journal)), key=lambda pair: pair[0]):
        lines = [
            line
            for _, line in run
            if not line.epoch or line.epoch in getattr(records.get(line.number), "curve", ())
        ]
        times = _times(lines)
        order += [
            (line.number, line.epoch, before + at)
            for line, at in zip(lines, times, strict=True)
            if line.epoch
        ]
        before += max(times, default=0.0)
    return order


def _lines(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, _Line]]:
    """The lines, with the process that wrote each."""
    spent: dict[int, float] = {}
    told: dict[int, float] = {}
    ours: list[int] = []  # by Optuna's number; see `carriers`
    begun = 0
    for entry in entries:
        process = str(entry.get("worker_id", "")).rpartition("-")[0]
        if ("distributions" in entry and "params" in entry) or (
            "datetime_start" in entry and "trial_id" not in entry
        ):
            continues = (entry.get("user_attrs") or {}).get(CONTINUES)
            ours.append(begun if continues is None else continues)
            begun += continues is None
        theirs = entry.get("trial_id", len(ours) - 1)
        number = ours[theirs] if 0 <= theirs < len(ours) else theirs
        seconds = (entry.get("user_attr") or {}).get(PROGRESS, {}).get("seconds")
        if seconds is not None:
            told[number] = seconds
        elif "intermediate_value" in entry:
            now = told.get(number, 0.0)
            yield process, _Line(number, int(entry["step"]), max(0.0, now - spent.get(number, 0.0)))
            spent[number] = now
        elif time := entry.get("datetime_complete") or entry.get("datetime_start"):
            yield process, _Line(number, time=datetime.fromisoformat(time).timestamp())


def _times(lines: Sequence[_Line]) -> list[float]:
    """Seconds of each line of one run since its first; lines without a timestamp are interpolated
    by the reported training time.
    """
    trained = list(itertools.accumulate(line.trained for line in lines))
    known = [(turn, line.time) for turn, line in enumerate(lines) if line.time is not None]
    if not known:
        return trained
    first, began = known[0]
    last, ended = known[-1]
    whole = trained[last] - trained[first]
    pace = (ended - began) / whole if whole > 0 else 1.0
    times = [began - pace * (trained[first] - at) for at in trained[:first]]
    for (turn, time), (after, until) in itertools.pairwise(known):
        step = trained[after] - trained[turn]
        shares = ((at - trained[turn]) / step if step else 0.0 for at in trained[turn:after])
        times += [time + share * (until - time) for share in shares]
    times += [ended + pace * (at - trained[last]) for at in trained[last:]]
    return [max(0.0, time - times[0]) for time in times]


def _of_records(records: Iterable[TrialRecord]) -> list[tuple[int, int, float]]:
    """Estimated from the trials' start times, the order of decisions, and each trial's mean time
    per epoch.
    """
    records = [record for record in records if record.curve]
    stand = {record.number: (0, record.started) for record in records}
    found: list[tuple[float, int, int]] = []
    clock = 0.0

    def train(record: TrialRecord, to: int, latest: float | None = None) -> None:
        epoch, since = stand[record.number]
        until = since + (to - epoch) * record.seconds / record.epoch
        until = min(max(until, clock), latest) if latest else max(until, clock)
        passed = [known for known in record.curve if epoch < known <= to]
        found.extend(
            (since + (until - since) * (known - epoch) / (to - epoch), record.number, known)
            for known in passed
        )
        stand[record.number] = to, until

    for record, made in in_order(records):
        if isinstance(made, Decision):
            train(record, made.epoch)
            clock = stand[record.number][1]
        elif isinstance(made, Promotion):
            stand[record.number] = made.epoch, clock
    clock = 0.0
    for record in records:
        if record.epoch > stand[record.number][0]:
            train(record, record.epoch, record.ended or None)
    first = min((record.started for record in records), default=0.0)
    return [(number, epoch, max(0.0, time - first)) for time, number, epoch in sorted(found)]
