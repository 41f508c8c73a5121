"""After a search: its best trial is brought to full epochs, tested once, and written to files."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hopsearch.distributed.cluster import TrialResources
from hopsearch.distributed.dispatcher import Dispatcher
from hopsearch.distributed.group import Leaving
from hopsearch.distributed.job import Progress
from hopsearch.distributed.live import clock
from hopsearch.distributed.worker import Finisher, answer
from hopsearch.errors import StudyError
from hopsearch.study import TrialRecord

_RESTARTS = 3  # of the winner's training in a row
_SAY_EVERY = 15  # seconds between two lines about the winner's training


def finish_winner(dispatcher: Dispatcher, resources: TrialResources, say: Callable[[str], None]) -> dict[str, Any]:
    """Bring the best trial to full epochs where it is not, read its test accuracy once, and write its files.

    A winner that is finished already is not touched again, so the test split is read once a winner. Its epochs are not the
    search's: no budget bounds them.

    Args:
        dispatcher: the desk.
        resources: what the training is given.
        say: told of the training's progress, a line now and then.

    Returns:
        What is then in the study as ``winner``: ``trial``, ``epoch``, ``epochs``, ``val_acc``, ``val_loss``, ``test_acc``,
        ``test_loss``, ``folder``, and ``test_reads``, how many winners of this study have been tested so far.

    Raises:
        StudyError: no trial has a value.
        UserError: the winner's training cannot go on.
    """
    study = dispatcher.study
    ranked = study.ranked()
    if not ranked:
        hint = f"See the reasons: python -m hopsearch.report study={study.identity.name}"
        raise StudyError(str(study.folder), "a winner needs a trial with a value, got none", hint)
    best = ranked[0]
    if study.winner is not None and study.winner["trial"] == best.number:
        return study.winner
    for attempt in range(1, _RESTARTS + 1):
        try:
            facts = _finish(dispatcher, resources, best, say)
            break
        except (ray.exceptions.RayActorError, Leaving) as error:  # its machine goes: elsewhere, from the checkpoint
            if attempt == _RESTARTS:
                rule = f"the winner's training must live, got a lost worker {_RESTARTS} times in a row"
                raise StudyError(str(study.folder), rule, "Run the same command again; what is trained is saved") from error
    reads = 1 + (study.winner or {}).get("test_reads", 0)
    winner = {"trial": best.number, **facts, "folder": "winner", "test_reads": reads}
    study.note("winner", winner)
    return winner


def _finish(dispatcher: Dispatcher, resources: TrialResources, best: TrialRecord, say: Callable[[str], None]) -> dict[str, Any]:
    place = placement_group(resources.bundles())
    strategy = PlacementGroupSchedulingStrategy(place, 0, placement_group_capture_child_tasks=True)
    actor = Finisher.options(  # type: ignore[attr-defined]  # made by ray.remote
        num_cpus=resources.cpus, num_gpus=resources.gpus, scheduling_strategy=strategy
    ).remote(dispatcher.job(best).model_dump_json(), resources.cpus, resources.gpus)
    try:
        _train_to_the_end(actor, dispatcher, best, say)
        facts: dict[str, Any] = answer(
            actor.finish.remote(str((dispatcher.study.folder / "winner").resolve()), dispatcher.place.below("winner"))
        )
    finally:
        ray.kill(actor)
        remove_placement_group(place)
    return facts


def _train_to_the_end(actor: Any, dispatcher: Dispatcher, record: TrialRecord, say: Callable[[str], None]) -> None:
    last = dispatcher.study.identity.space.fidelity.max_epochs
    first, began, said = record.epoch, time.monotonic(), 0.0
    if first < last:
        say(f"winner: trial {record.number} goes on from epoch {first} to {last}; Ctrl-C keeps it, finish=false leaves it")
    while True:
        progress = Progress.model_validate_json(answer(actor.advance.remote()))
        if progress.trace:
            raise RuntimeError(f"the winner's training ended in an error:\n{progress.trace}")
        if progress.failure:
            place = f"winner, trial {record.number}"
            raise StudyError(place, f"its training must go on to full epochs, got {progress.reason}", "Run the command again")
        for observer in dispatcher.observers:
            observer.rows(record, progress.rows)
            if progress.pictures:
                observer.pictures(record, progress.pictures)
        if progress.done:
            break
        row, now = progress.rows[-1], time.monotonic()
        if row["epoch"] > first and now - said > _SAY_EVERY:
            said, value = now, row[dispatcher.study.objective]
            left = clock((now - began) / (row["epoch"] - first) * (last - row["epoch"]))
            say(f"winner: epoch {row['epoch']:g} of {last}, {dispatcher.study.objective} {value:.4f}, about {left} left")
