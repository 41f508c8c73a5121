"""Which trials' checkpoints may go: a pure function of the study's records and of what lies on the
disk.

A restart needs those of trials that run or wait, whatever they have reached, and the winner needs
the best of those that have ended. It is chosen among the ended ones alone: a better one that still
runs may fail yet, and must not have cost the second best its weights. No one who comes later can
make a worse ended trial the best, so what is dropped is never missed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hopsearch.study.reader import StudyView


@dataclass(frozen=True)
class Retention:
    """The verdict on a study's checkpoints.

    Attributes:
        needed: trials that a restart would continue with, in order of their numbers; theirs always
            stay.
        kept: ended trials whose weights stay, best first.
        dropped: trials whose checkpoints may go, in order of their numbers.
        held: bytes that stay.
    """

    needed: tuple[int, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    held: int


def retain(
    view: StudyView, sizes: Mapping[int, int], keep: int, quota: int | None = None
) -> Retention:
    """Decide which checkpoints stay.

    Args:
        view: the study.
        sizes: bytes of its checkpoints, by trial; who is not in it has none.
        keep: ended trials whose weights stay: so many of the best, and with several objectives
            their Pareto front.
        quota: bytes for all of them. Above it the lowest ranked of the kept go too, down to the
            best one.
    """
    needed = [
        number
        for number in sizes
        if number not in view.records or not view.records[number].state.ended
    ]
    ended = [
        view.records[number]
        for number in sizes
        if number in view.records and view.records[number].state.ended
    ]
    front = {record.number for record in view.front(ended)}
    best_first = [record.number for record in view.rank(ended)]
    kept = [number for place, number in enumerate(best_first) if place < keep or number in front]
    held = sum(sizes[number] for number in (*needed, *kept))
    while quota is not None and held > quota and len(kept) > 1:
        held -= sizes[kept.pop()]
    dropped = {record.number for record in ended} - set(kept)
    return Retention(tuple(sorted(needed)), tuple(kept), tuple(sorted(dropped)), held)
