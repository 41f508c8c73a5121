"""``python -m hopsearch.tune space=<name> [key=value …]``: search a space, resume an earlier
search, and finish the winner.

    python -m hopsearch.tune space=imixer
    python -m hopsearch.tune space=hopfield data=photos trials=50 dry_run=true
    python -m hopsearch.tune space=imixer model.depth=4 optim.lr=1e-3

Settings below model., optim., augment. and train. fix what the space would search. The same command
again resumes the search.
"""

import os
import sys

from hopsearch.command_line import manual, signals, utf8

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("tune")
    signals.supervise()  # before the imports: they take seconds
    os.environ.setdefault("HOPSEARCH_TIMM", "0")
    from hopsearch.ray_backend.cluster.connection import start_ahead

    start_ahead(sys.argv[1:])

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from hopsearch.command_line.command import Interrupted, run_as_program
from hopsearch.command_line.words import read_words
from hopsearch.core import paths
from hopsearch.core.config import flatten, parse
from hopsearch.core.errors import ConfigError, SpaceError, UserError
from hopsearch.core.study_names import derive_name, slug
from hopsearch.data import accepted_by_names
from hopsearch.orchestration.admission import assess
from hopsearch.orchestration.budget import (
    ALIASES,
    Budget,
    make_budget,
    said_of_aliases,
)
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.preflight import rehearse
from hopsearch.orchestration.simulation.plan import Plan
from hopsearch.orchestration.space_preparation import Later, open_search
from hopsearch.orchestration.tie_break import trainings_again
from hopsearch.ray_backend.cluster.connection import MOST, connect, slots, this_machine
from hopsearch.ray_backend.cluster.growth import growth
from hopsearch.ray_backend.driver import interrupted, run_search
from hopsearch.ray_backend.winner_training import finish_winner
from hopsearch.reporting.leaderboard import write_csv
from hopsearch.reporting.tensorboard import Board
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.data_reading import read_data
from hopsearch.reporting.terminal.live import LiveView
from hopsearch.reporting.terminal.printout import plain, show
from hopsearch.space import DEFAULT_TASK
from hopsearch.storage.mirror import JournalMirror, Place
from hopsearch.study import (
    Admission,
    Identity,
    Prior,
    Study,
    StudyView,
    WarmStart,
    origin,
)
from hopsearch.study.persistence.database import check_address
from hopsearch.study.warm_start import learn_from
from hopsearch.tasks import FactsLike, Task, find_task, task_named_by
from hopsearch.training import Constraint
from hopsearch.verb_settings import TuneConfig, of_task


@dataclass(frozen=True)
class _Prepared:
    """A search after all checks that are possible before anything is started or written.

    Attributes:
        identity: the study.
        facts: of its data.
        budget: when it stops.
        place: location of the study.
        begun: the existing study, if any.
        prior: values that are expected to be good.
        warm: the study to learn from, if any.
        first: an example of a configuration to train.
    """

    identity: Identity
    facts: FactsLike
    budget: Budget
    place: Place
    begun: StudyView | None
    prior: Prior
    warm: WarmStart | None
    first: dict[str, object]

    def admit(self, values: dict[str, object]) -> Admission:
        """As `Dispatcher.admit`."""
        limits = Constraint(**self.identity.constraint)
        return assess(values, self.facts, limits, self.identity)[0]


def search(config: TuneConfig, fixed: dict[str, object]) -> Path:
    """Run the search that ``config`` describes to its end, print what it found, and return the
    study's folder.

    Args:
        config: the settings.
        fixed: trial settings to fix instead of searching them, by dotted name.

    Raises:
        UserError: the user must act.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    console = make_console(name=__name__, quiet=config.quiet)
    if config.database:
        check_address(config.database)  # before the data are read, which may take minutes
    task = task_named_by(config.space)
    config = config.model_copy(update={"data": task.viewed(config.data, config.recipe)})
    ready = _prepare(task, config, fixed, console)
    place = ready.place
    if config.dry_run:
        _plan(config, ready, console)
        return place.folder
    study: Study | None = None
    try:
        with (
            signals.closed_whole(place.owned(plain(console))) as owned,
            signals.closed_whole(owned.journal()) as journal,
        ):
            study = _open_study(config, ready, owned.guard, plain(console))
            with signals.closed_whole(study):
                _run(config, replace(ready, place=owned), study, journal, console)
    except KeyboardInterrupt:
        signals.saving()
        if study is None:
            raise
        raise Interrupted(interrupted(study)) from None
    return place.folder


def _open_study(
    config: TuneConfig,
    ready: _Prepared,
    guard: Callable[[], None] | None = None,
    say: Callable[[str], None] = print,
) -> Study:
    return Study(
        ready.place.folder,
        ready.identity,
        sampler=config.sampler,
        pruner=config.pruner,
        database=config.database,
        prior=ready.prior,
        warm_start=ready.warm,
        guard=guard,
        say=say,
    )


def _prepare(
    task: Task, config: TuneConfig, fixed: dict[str, object], console: Console
) -> _Prepared:
    identity, facts, later = _identity(task, config, fixed, console)
    again = trainings_again(config.finish)
    budget = make_budget(
        config.trials, config.budget, config.cost, config.trial.gpus * config.trial.workers, again
    )
    place = Place.of(config.storage, identity.name)
    prior = Prior(flatten(config.prior))
    if not config.address:
        slots(config.trial, alone=this_machine())
    if prior.values and config.sampler == "grid":
        rule = (
            f"has no effect with sampler=grid, which tries all values in order, got "
            f"{', '.join(prior.values)}"
        )
        raise ConfigError("prior", rule, "Leave prior.* out, or use another sampler")
    place.bring_journal()
    begun = StudyView.find(place.folder, config.database)
    if later and not (begun and begun.identity.space.fidelity == identity.space.fidelity):
        identity = replace(identity, space=replace(identity.space, fidelity=later.fidelity))
        console.print(later.why, markup=False)
    if begun:
        identity.require_same(begun.identity, str(place.folder))
        if said := accepted_by_names(identity.data, begun.identity.data):
            console.print(said, markup=False)
    say = functools.partial(console.print, markup=False)
    other = config.warm_start
    warm = (
        learn_from(other, config.storage, config.sampler, identity.space, begun, say)
        if other
        else None
    )
    ready = _Prepared(
        identity=identity,
        facts=facts,
        budget=budget,
        place=place,
        begun=begun,
        prior=prior,
        warm=warm,
        first={},
    )
    first = rehearse(
        identity, config.sampler, config.pruner, prior, warm, ready.admit, str(place.folder)
    )
    return replace(ready, first=first.config)


def _identity(
    task: Task, config: TuneConfig, fixed: dict[str, object], console: Console
) -> tuple[Identity, FactsLike, Later | None]:
    facts = read_data(task, config.data, console).facts
    given = config.fidelity.into(fixed)
    opened = open_search(
        config.space, facts, given, config.recipe, config.objective, config.direction
    )
    console.print(*opened.said, sep="\n", markup=False)
    name = config.study or derive_name(Path(config.space).stem, slug(facts.name))
    identity = Identity(
        name=name,
        space=opened.space,
        data=task.data_identity(config.data, facts),
        recipe=opened.recipe,
        constraint=config.constraint.model_dump(exclude_none=True),
        seed=config.seed,
        origin=origin()
        | task.data_description(config.data, facts)
        | {
            "learning_rate": opened.rates,
            "metrics": [metric.to_dict() for metric in task.metrics],
        },
    )
    return identity, facts, opened.later


def _plan(config: TuneConfig, ready: _Prepared, console: Console) -> None:
    if config.address:
        at_once = config.trial.concurrent or 1
        note = (
            ""
            if config.trial.concurrent
            else "; planned with 1 trial at once, set trial.concurrent=… for more"
        )
        console.print(
            (
                f"address={config.address}: not contacted, so it was not checked whether trials "
                f"fit the cluster{note}"
            ),
            markup=False,
        )
    else:
        at_once = slots(config.trial, alone=this_machine())
    plan = Plan(
        ready.identity,
        config.data,
        ready.budget,
        config.pruner,
        at_once,
        config.trial,
        config.finish,
        ready.begun,
    )
    plan.show(ready.admit, ready.first, console)


def _run(
    config: TuneConfig,
    ready: _Prepared,
    study: Study,
    journal: JournalMirror | None,
    console: Console,
) -> None:
    place = ready.place
    budget = ready.budget
    known = len(study.counted())
    console.print(
        f"study {study.folder}: "
        f"{'starting' if not known else f'resuming with {known} trials, {study.epochs} epochs'}"
    )
    if why := budget.over(study, study.seconds):
        raised = budget.remedy(study, study.seconds)
        console.print(
            f"{why} already, so no trial is trained: raise {raised} to train more", markup=False
        )
    console.print(f"watch it: tensorboard --logdir {study.folder / paths.TENSORBOARD}")
    with connect(config.address, forked=True):
        grown = growth() if config.address else None
        places = slots(config.trial, grown, config.trials)
        if grown:
            capped = (
                " (more with trial.concurrent=…)"
                if places == MOST and not config.trial.concurrent
                else ""
            )
            console.print(
                f"the cluster grows to {grown}; up to {places} trials at once{capped}", markup=False
            )
        board = Board(study)
        live = LiveView(study, config.trials, places, config.pruner, quiet=console.quiet)
        dispatcher = Dispatcher(
            study=study,
            data=config.data,
            facts=ready.facts,
            constraint=config.constraint,
            budget=budget,
            observers=(board, live),
            threads=config.trial.threads,
            place=place,
            journal=journal,
            keeping=config.checkpoint,
            say=live.say,
        )
        live.budgets = lambda: dispatcher.left
        live.lasts = lambda: budget.lasts(study, dispatcher.seconds, len(dispatcher.queue.out))
        try:
            with live:
                run_search(dispatcher, config.trial, places, forked=not config.address)
            if dispatcher.queue.stopped:
                console.print(f"stopped: {dispatcher.queue.stopped}")
            finish_winner(dispatcher, config.trial, config.finish, places, console.print)
            dispatcher.checkpoints.settle()
        finally:
            # a full disk has already been reported
            with signals.held(), contextlib.suppress(UserError, OSError):
                dispatcher.note_seconds()
                board.close()
    study.refresh()
    show(study, console)
    console.print(f"all trials: {write_csv(study)}")
    place.push()
    place.push_tree(str(paths.TENSORBOARD))


def main(words: Sequence[str]) -> None:
    """Read the command line and search."""
    signals.begin()
    shorthand = ALIASES | {"data": "data.source", "finish": "finish.enabled"}
    task = find_task(DEFAULT_TASK)
    # Which settings there are, the space's task says.
    space = next((word.removeprefix("space=") for word in words if word.startswith("space=")), "")
    with contextlib.suppress(SpaceError):  # said below, once all words are read
        task = task_named_by(space)
    schema = of_task(TuneConfig, task)
    values = read_words(words, schema, task.sections, shorthand)
    fixed = flatten({name: values.pop(name) for name in task.sections if name in values})
    config = parse(schema, values, "command line", beside=task.sections)
    console = make_console(name=__name__, quiet=config.quiet)
    for sentence in said_of_aliases(words):
        console.print(sentence, markup=False)
    search(config, fixed)


if __name__ == "__main__":
    run_as_program(main, TuneConfig, __doc__ or "")
