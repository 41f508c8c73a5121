"""After a search: chooses the winner, trains it to full epochs, tests it once, and writes its
files.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray

from hopsearch.core import paths
from hopsearch.core.durations import clock
from hopsearch.core.errors import StudyError
from hopsearch.jobs.job import Progress
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.failures.death_causes import Cause
from hopsearch.orchestration.resources import TrialResources
from hopsearch.orchestration.tie_break import Election, FinishConfig
from hopsearch.ray_backend.workers.hanging_workers import LOOK_EVERY, awaited
from hopsearch.ray_backend.workers.ray_errors import LOST, death_of
from hopsearch.ray_backend.workers.watched_training import Seat
from hopsearch.study import TrialRecord
from hopsearch.study.record.journal_keys import WINNER

__all__ = ["finish_winner"]

_RESTARTS = 3  # losses of a training in a row
_SAY_EVERY = 15  # seconds between two progress lines of the winner's training


def finish_winner(
    dispatcher: Dispatcher,
    resources: TrialResources,
    config: FinishConfig,
    slots: int,
    say: Callable[[str], None],
) -> dict[str, object] | None:
    """Choose the winner, train it to full epochs if it has fewer, read its test accuracy once, and
    write its files.

    A finished winner is not processed again, so the test split is read once per winner. Its epochs
    do not belong to the search: no budget limits them.

    Args:
        dispatcher: of the search.
        resources: of a training; the winner's gets a whole machine.
        config: how the winner is chosen.
        slots: maximum number of concurrent trainings.
        say: receives occasional progress messages.

    Returns:
        The study's ``winner`` record: ``trial``, ``folder``, what `JobRun.finish` returns,
        ``finish_epochs`` and ``finish_seconds`` of its training after the search, and
        ``test_reads``, how many winners of this study have been tested. None if finishing is off,
        or no trial has a value.

    Raises:
        UserError: the winner's training cannot continue.
    """
    study = dispatcher.study
    if not config.enabled or not study.ranked():
        return None
    election = Election(dispatcher, config)
    _train_again(election, resources, slots, say)
    best = election.decide()
    if study.winner is not None and study.winner["trial"] == best.number:
        return study.winner
    for attempt in range(1, _RESTARTS + 1):
        try:
            facts = _finish(dispatcher, resources, best, say)
            break
        except LOST as error:  # on another worker, from the checkpoint
            if attempt == _RESTARTS:
                rule = (
                    f"the winner's training lost its worker {_RESTARTS} times in a row: "
                    f"{death_of(error).detail}"
                )
                raise StudyError(
                    str(study.folder),
                    rule,
                    "Run the same command again; completed epochs are saved",
                ) from error
    reads = 1 + (study.winner or {}).get("test_reads", 0)
    winner = {"trial": best.number, **facts, "folder": str(paths.WINNER), "test_reads": reads}
    study.note(WINNER, winner)
    return winner


def _train_again(
    election: Election, resources: TrialResources, slots: int, say: Callable[[str], None]
) -> None:
    waiting = election.missing()
    running = dict[Any, Seat]()
    lost = Counter[str]()
    if waiting:
        numbers = ", ".join(str(record.number) for record in election.candidates)
        say(
            f"winner: trials {numbers} are retrained with fresh seeds, {len(waiting)} trainings; "
            f"Ctrl-C keeps completed ones"
        )
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                seat = Seat(waiting.pop(0), resources, "winner")
                running[seat.advance()] = seat
            ready = _first(running, election, say)
            seat = running.pop(ready)
            try:
                progress = seat.take(ready, election.record(seat.job))
            except LOST as error:
                seat.close()
                if (death := death_of(error)).cause == Cause.MEMORY and running:
                    slots = len(running)
                    say(
                        f"winner: out of memory ({death.detail}): from now on at most {slots} run "
                        f"at once"
                    )
                lost[seat.job.folder] += 1
                if lost[seat.job.folder] == _RESTARTS:
                    rule = (
                        f"a training lost its worker {_RESTARTS} times in a row: "
                        f"{death_of(error).detail}"
                    )
                    raise StudyError(
                        seat.job.folder,
                        rule,
                        "Run the same command again; completed epochs are saved",
                    ) from error
                waiting.append(seat.job)
                continue
            if _over(seat, progress):
                election.take(seat.job, list(seat.rows.values()), progress.reason)
                say(
                    f"winner: trial {seat.job.number} retrained, {len(waiting) + len(running)} "
                    f"trainings left"
                )
                if not waiting:
                    seat.close()
                    continue
                running[seat.start(waiting.pop(0))] = seat
            else:
                running[seat.advance()] = seat
    finally:
        for seat in running.values():
            seat.close()


def _first(running: dict[Any, Seat], election: Election, say: Callable[[str], None]) -> Any:
    """The first of several trainings with a result, including one that was killed because it
    hung.
    """
    while True:
        ready, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_EVERY)
        if ready:
            return ready[0]
        for seat in running.values():
            seat.kill_if_it_hangs(election.record(seat.job), say)


def _over(seat: Seat, progress: Progress) -> bool:
    if progress.failure == "search":
        seat.close()
        raise StudyError(
            f"trial {seat.job.number}",
            f"its training failed: {progress.reason}",
            "Run the command again",
        )
    return progress.done or progress.failure is not None


def _finish(
    dispatcher: Dispatcher, resources: TrialResources, best: TrialRecord, say: Callable[[str], None]
) -> dict[str, object]:
    seat = Seat(dispatcher.job(best), resources, "winner", whole=True)
    try:
        _train_to_the_end(seat, dispatcher, best, say)
        target = str((dispatcher.study.folder / paths.WINNER).resolve())
        mirror = dispatcher.place.below(str(paths.WINNER))
        images = dispatcher.facts.n_train + dispatcher.facts.n_val + dispatcher.facts.n_test
        facts = seat.finish(target, mirror, best, images, say)
    finally:
        seat.close()
    more = [row["seconds"] for epoch, row in seat.rows.items() if epoch > best.epoch]
    return facts | {"finish_epochs": len(more), "finish_seconds": round(sum(more), 2)}


def _train_to_the_end(
    seat: Seat, dispatcher: Dispatcher, record: TrialRecord, say: Callable[[str], None]
) -> None:
    last = dispatcher.study.identity.space.fidelity.max_epochs
    first = record.epoch
    began = time.monotonic()
    said = 0.0
    if first < last:
        threads = seat.settle_threads(record, say)
        on = f" on {threads} threads" if threads > 1 else ""
        say(
            f"winner: trial {record.number} continues from epoch {first} to {last}{on}; Ctrl-C "
            f"saves it, finish=false skips it"
        )
    while True:
        progress = _in_time(seat, record, say)
        if progress.failure:
            place = f"winner, trial {record.number}"
            raise StudyError(
                place,
                f"its training failed before its last epoch: {progress.reason}",
                "Run the command again",
            )
        dispatcher.show(record, progress)
        if progress.done:
            break
        row = progress.rows[-1]
        now = time.monotonic()
        if row["epoch"] > first and now - said > _SAY_EVERY:
            said = now
            value = row[dispatcher.study.objective]
            left = clock((now - began) / (row["epoch"] - first) * (last - row["epoch"]))
            say(
                f"winner: epoch {row['epoch']:g} of {last}, {dispatcher.study.objective} "
                f"{value:.4f}, about {left} left"
            )


def _in_time(seat: Seat, record: TrialRecord, say: Callable[[str], None]) -> Progress:
    epoch = seat.advance()
    awaited(epoch, lambda: seat.kill_if_it_hangs(record, say))
    return seat.take(epoch, record)
