"""Which trials' checkpoints to delete: a pure function of the study's records and of the files on
disk.

A restart needs those of running and paused trials, however good they are, and the winner needs the
best of the ended ones. The best is chosen among ended trials only: a better running one may still
fail, and must not have cost the second best its weights. No later trial can make a worse ended
trial the best, so deleted checkpoints are never needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hopsearch.study.reader import StudyView


@dataclass(frozen=True)
class Retention:
    """The verdict on a study's checkpoints.

    Attributes:
        needed: trials that a restart would continue, in order of their numbers; always kept.
        kept: ended trials whose weights are kept, best first.
        dropped: trials whose checkpoints are deleted, in order of their numbers.
        held: bytes that are kept.
    """

    needed: tuple[int, ...]
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    held: int


def retain(
    view: StudyView, sizes: Mapping[int, int], keep: int, quota: int | None = None
) -> Retention:
    """Decide which checkpoints are kept.

    Args:
        view: the study.
        sizes: bytes of checkpoints by trial; absent trials have none.
        keep: number of best ended trials whose weights are kept; with several objectives, also
            their Pareto front.
        quota: bytes for all of them. Above it, the lowest ranked of the kept are deleted too,
            except the best one.
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
