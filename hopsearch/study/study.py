"""The study, for the one process that writes it: ask, report, tell, and go on after any interruption."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from hopsearch.errors import StudyError
from hopsearch.seeds import derive
from hopsearch.space import Float, Parameter, Suggest
from hopsearch.study.pruners import make_pruner
from hopsearch.study.records import Decision, State, TrialRecord, from_optuna
from hopsearch.study.samplers import CONSTRAINED, make_sampler, suggest_value
from hopsearch.study.storage import StudyLock, open_storage
from hopsearch.study.view import IDENTITY, Identity, StudyView, decide, load_study

_RECORDED_REJECTIONS = 8  # refused proposals a trial that the sampler learns from; then points are drawn at random
_DRAWS = 500  # random points tried before the search is said to be at its end


@dataclass(frozen=True)
class Admission:
    """The verdict on a proposed configuration, before it is trained.

    Attributes:
        cost: ``params``, ``flops``, ``memory``.
        broken: the broken rule, empty where all constraints hold.
        excess: by how much it is broken, relative; 0 where none is.
    """

    cost: dict[str, int] = field(default_factory=dict)
    broken: str = ""
    excess: float = 0.0


Admit = Callable[[dict[str, Any]], Admission]
"""From a configuration by dotted names to its admission."""


class Study(StudyView):
    """The one truth about a search, durable after every call. Use it as a context manager: it holds the study's lock.

    Args:
        folder: the study's folder, made if it is not there.
        identity: what the study is; an existing one must be the same.
        sampler, pruner: by name; a study may go on with others.
        database: an Optuna storage URL instead of the journal in ``folder``.

    Raises:
        StudyError: unwritable, open elsewhere, or another study than the one asked for (with the difference).
        ConfigError: unknown sampler or pruner.
    """

    def __init__(self, folder: Path, identity: Identity, sampler: str, pruner: str, database: str | None = None) -> None:
        self._pruner = make_pruner(pruner, identity.space.fidelity)
        make_sampler(sampler, identity.space, identity.seed, 0)  # an unknown name is refused before anything is written
        self._sampler = sampler
        self._lock = StudyLock(folder)
        try:
            self._storage = open_storage(folder, database, writer=True)
            study = self._load_or_create(folder, identity)
            super().__init__(folder, study, identity)
        except BaseException:
            self._lock.release()
            raise
        self._study_id = self._storage.get_study_id_from_name(study.study_name)
        self._seen = {
            self._key(record): record.number for record in self.records.values() if record.config and record.state.counted
        }
        decided = [(made, record) for record in self.records.values() for made in record.decisions.values()]
        self._decisions: list[tuple[Decision, TrialRecord]] = sorted(decided, key=lambda pair: pair[0].order)
        self._grid = identity.space.grid() if sampler == "grid" else None

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the right to write."""
        self._lock.release()

    def ask(self, admit: Admit) -> TrialRecord | None:
        """A new trial to train, or None where no configuration is left that is new and admitted.

        Args:
            admit: computes a configuration's cost and says whether the constraints hold.

        Raises:
            StudyError: no configuration of the space meets the constraints.
        """
        for attempt in range(_RECORDED_REJECTIONS + 1):
            if attempt == _RECORDED_REJECTIONS or self._grid is not None:
                point = self._draw(admit)
                if point is None:
                    return None
                self.optuna.enqueue_trial(point, user_attrs={"source": self._sampler if self._grid is not None else "random"})
            self.optuna.sampler = make_sampler(self._sampler, self.identity.space, self.identity.seed, len(self.records))
            record = self._begin(self.optuna.ask(), admit)
            if record.state == State.RUNNING:
                return record
        return None

    def resume(self, admit: Admit) -> list[TrialRecord]:
        """Trials that were running when the study was last left, in order; what was begun but not decided is decided first.

        Args:
            admit: as in `ask`, for a trial whose proposal was cut off.
        """
        for record in list(self.records.values()):
            if record.state == State.RUNNING and not record.config:
                self.optuna.sampler = make_sampler(self._sampler, self.identity.space, self.identity.seed, record.number)
                self._begin(optuna.trial.Trial(self.optuna, self._id(record.number)), admit)
            elif record.state == State.RUNNING and record.curve:
                self._settle(record)
        return [record for record in self.counted() if record.state == State.RUNNING]

    def report(
        self,
        number: int,
        epoch: int,
        value: float,
        seconds: float,
        checkpoint: str = "",
        metrics: Mapping[str, float] | None = None,
    ) -> TrialRecord:
        """Take in a trial's objective after an epoch, decide, and end the trial where that is due.

        An epoch that is known already is passed over, so a worker may repeat itself after a restart.

        Args:
            number: the trial.
            epoch: the trial's own count of epochs, from 1.
            value: the objective, finite.
            seconds: training time of the trial so far.
            checkpoint: path of the checkpoint that holds this epoch, relative to the study's folder.
            metrics: what else is known of this epoch; the study keeps the newest epoch's.

        Returns:
            The record; its state says whether to go on.
        """
        record = self.records[number]
        if record.state != State.RUNNING or epoch <= record.epoch:
            return record
        kept = {name: float(f"{known:.5g}") for name, known in (metrics or {}).items() if math.isfinite(known)}
        progress = {"seconds": round(seconds, 4), "checkpoint": checkpoint} | ({"metrics": kept} if kept else {})
        self._set(number, "progress", progress)
        self._storage.set_trial_intermediate_value(self._id(number), epoch, value)
        record.curve[epoch], record.seconds, record.checkpoint, record.metrics = value, seconds, checkpoint, kept
        self._settle(record)
        return record

    def fail(self, number: int, reason: str) -> TrialRecord:
        """End a trial that cannot go on: diverged, out of memory, an error."""
        self._set(number, "reason", reason)
        self.records[number].reason = reason
        return self._end(self.records[number], State.FAILED)

    def lose(self, number: int) -> int:
        """Note that a trial's worker was lost; the trial stays running. Returns how often that has happened to it."""
        record = self.records[number]
        record.losses += 1
        self._set(number, "losses", record.losses)
        return record.losses

    def note(self, key: str, value: Any) -> None:
        """Keep a fact about the whole study: its winner, the seconds it took."""
        self.optuna.set_user_attr(key, value)

    def _load_or_create(self, folder: Path, identity: Identity) -> optuna.Study:
        study = load_study(self._storage, identity.name)
        if study is None:
            study = optuna.create_study(
                storage=self._storage,
                study_name=identity.name,
                direction=StudyDirection[identity.space.direction.upper()],
                load_if_exists=True,
            )
        stored = study.user_attrs.get(IDENTITY)
        if stored is None:  # new, or killed before it was named
            for point in identity.space.first[len(study.get_trials(deepcopy=False)) :]:
                study.enqueue_trial(dict(point), user_attrs={"source": "first point"})
            study.set_user_attr(IDENTITY, identity.to_dict())
        elif lines := identity.difference(Identity.from_dict(stored)):
            rule = f"the study must be searched as it was begun, got (asked for != begun with) {'; '.join(lines)}"
            raise StudyError(str(folder), rule, "Give the search another name with study=<name>, or take the change back")
        return study

    def _draw(self, admit: Admit) -> dict[str, Any] | None:
        # Proposals that would be refused are not worth a trial number each: draw until one is new and admitted.
        space, random = self.identity.space, Random(derive(self.identity.seed, "draw", len(self.records)))
        broken = ""
        for _ in range(_DRAWS) if self._grid is None else iter(int, 1):
            if self._grid is not None:
                config = next(self._grid, None)
                if config is None:
                    return None
            else:
                config = space.walk(lambda _, parameter: _draw_value(parameter, random))
            if space.canonical(config) in self._seen:
                continue
            broken = admit(config).broken
            if not broken:
                return {name: config[name] for name in space.parameters if name in config}
        if broken:
            rule = f"some configuration must meet the constraints, got none in {_DRAWS} random ones; the last: {broken}"
            raise StudyError(str(self.folder), rule, "Relax constraint.*, or give the space smaller models")
        return None

    def _begin(self, trial: optuna.Trial, admit: Admit) -> TrialRecord:
        config = self.identity.space.walk(self._suggester(trial))
        twin = self._seen.get(self.identity.space.canonical(config))
        admission = admit(config)
        state, reason = State.RUNNING, ""
        if twin is not None:
            state, reason = State.DUPLICATE, f"same configuration as trial {twin}"
        elif admission.broken:
            state, reason = State.INFEASIBLE, admission.broken
            # The sampler learns which region to leave; Optuna keeps a trial without values as the worst there is.
            if self._sampler in CONSTRAINED:
                trial.set_constraint("cost", admission.excess)
        facts: dict[str, Any] = {"seed": derive(self.identity.seed, trial.number), "cost": admission.cost, "config": config}
        facts["source"] = trial.user_attrs.get("source", self._sampler)
        if state != State.RUNNING:
            facts |= {"reason": reason, "rejected": state.value}
        for key, value in facts.items():
            if key not in trial.user_attrs:
                trial.set_user_attr(key, value)
        if state != State.RUNNING:
            self.optuna.tell(trial, state=TrialState.FAIL if state == State.DUPLICATE else TrialState.PRUNED)
        record = from_optuna(self._storage.get_trial(self._id(trial.number)))
        self.records[trial.number] = record
        if state == State.RUNNING:
            self._seen[self._key(record)] = record.number
        return record

    def _suggester(self, trial: optuna.Trial) -> Suggest:
        # A proposal that was cut off goes on: what it holds already is drawn again, so that the rest comes out the same.
        frozen = self._storage.get_trial(self._id(trial.number))
        given = {*trial.relative_params, *frozen.system_attrs.get("fixed_params", {})}

        def suggest(name: str, parameter: Parameter) -> Any:
            if name in frozen.params and name not in given:
                self.optuna.sampler.sample_independent(self.optuna, frozen, name, frozen.distributions[name])
            return suggest_value(trial, name, parameter)

        return suggest

    def _settle(self, record: TrialRecord) -> None:
        # Also run after a restart: a trial may have been left between its report and the decision on it.
        epoch = record.epoch
        if epoch >= self.identity.space.fidelity.max_epochs:
            self._end(record, State.COMPLETE)
            return
        if epoch not in record.decisions and self._pruner.decides_at(epoch, record.number):
            made = decide(self._pruner, record, epoch, self.sign, self._decisions, len(self._decisions))
            self._set(record.number, f"decision:{epoch}", asdict(made))
            record.decisions[epoch] = made
            self._decisions.append((made, record))
        if epoch in record.decisions and record.decisions[epoch].stop:
            self._end(record, State.PRUNED)

    def _end(self, record: TrialRecord, state: State) -> TrialRecord:
        told = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}[state]
        self.optuna.tell(record.number, self.value(record) if state == State.COMPLETE else None, state=told)
        record.state, record.ended = state, time.time()
        return record

    def _key(self, record: TrialRecord) -> str:
        return self.identity.space.canonical(record.config)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _set(self, number: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._id(number), key, value)


def _draw_value(parameter: Parameter, random: Random) -> Any:
    values = parameter.values()
    if values is not None:
        return random.choice(values)
    assert isinstance(parameter, Float)  # only a real number without a step has no list of values
    low, high = parameter.low, parameter.high
    if parameter.log:
        return min(high, max(low, math.exp(random.uniform(math.log(low), math.log(high)))))
    return random.uniform(low, high)
