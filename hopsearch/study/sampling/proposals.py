"""Turns a sampler's proposals into trials worth training: not trained before, and within the
constraints.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import optuna
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from hopsearch.core.errors import StudyError
from hopsearch.core.seeds import derive
from hopsearch.space import Parameter, Suggest, stored_costs
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.journal_keys import CONFIG, COST, REASON, REJECTED, SEED, SOURCE
from hopsearch.study.record.optuna_trials import Carriers
from hopsearch.study.record.trial import State, TrialRecord, from_optuna
from hopsearch.study.sampling.priors import Prior
from hopsearch.study.sampling.samplers import CONSTRAINED, make_sampler, proposer, suggest_value

# rejected proposals per trial that the sampler learns from; after that, points are random
_RECORDED_REJECTIONS = 8
_REFUSED = (State.DUPLICATE, State.INFEASIBLE)
_DRAWS = 500  # random points tried before the search ends


@dataclass(frozen=True)
class Admission:
    """The verdict on a proposed configuration, before it is trained.

    Attributes:
        cost: ``n_params``, ``flops``, ``memory``.
        broken: the violated rule, empty if all constraints hold.
        excess: relative excess over the limit; 0 if none is violated.
    """

    cost: dict[str, int] = field(default_factory=dict)
    broken: str = ""
    excess: float = 0.0


Admit = Callable[[dict[str, object]], Admission]
"""Maps a configuration by dotted names to its admission."""


class Proposals:
    """Asks the sampler, rejects what is not worth training, and records proposals in the study.

    Args:
        study: Optuna's study, open for writing.
        identity: what the study is.
        sampler: by name.
        records: the study's own, to which each new trial is added.
        carriers: the mapping between Optuna's trials and ours.
        place: start of an error message.
        prior: beliefs about good values.
    """

    def __init__(
        self,
        study: optuna.Study,
        identity: Identity,
        sampler: str,
        records: dict[int, TrialRecord],
        carriers: Carriers,
        place: str,
        prior: Prior,
    ) -> None:
        prior.check(identity.space)
        self._prior = prior
        self._optuna = study
        self._identity = identity
        self._sampler = sampler
        self._records = records
        self._place = place
        self._carriers = carriers
        counted = (record for record in records.values() if record.config and record.state.counted)
        self._seen = {identity.space.canonical(record.config): record.number for record in counted}
        self._grid = identity.space.grid() if sampler == "grid" else None
        self._drawn_in_vain = -1  # number of trials when no point was found
        self._refused = sum(not record.state.counted for record in records.values())
        # With conditions, or with trials of another study, which fade, the set of common parameters
        # may grow: then it is recomputed.
        others = any(record.state == State.INHERITED for record in records.values())
        self._common = (
            None
            if identity.space.conditional or others
            else IntersectionSearchSpace(include_pruned=True)
        )

    @property
    def count(self) -> int:
        """The number of counted trials, without scanning all of them."""
        return len(self._records) - self._refused

    def ask(self, admit: Admit) -> TrialRecord | None:
        """A new trial to train, or None if no new admissible configuration is left; see
        `Study.ask`.
        """
        while True:
            refused = self._refused_in_a_row()
            if self._grid is not None or refused == _RECORDED_REJECTIONS:
                if not self._given():
                    point = self._draw(admit)
                    if point is None:
                        return None
                    self._optuna.enqueue_trial(
                        point,
                        user_attrs={SOURCE: "random" if self._grid is None else self._sampler},
                    )
            elif refused == 0 and (believed := self._believed()) is not None:
                self._optuna.enqueue_trial(believed, user_attrs={SOURCE: "prior"})
            self._optuna.sampler = self._sampler_for(len(self._records))
            record = self._begin(self._optuna.ask(), admit)
            if record.state == State.RUNNING:
                return record

    def _refused_in_a_row(self) -> int:
        # Counted in the records, not in `ask`: a free worker asks repeatedly while others train,
        # and if nothing is left to try, each call would add more rejections to the journal. The
        # count also survives a restart.
        newest_first = reversed(self._records.values())
        refused = itertools.takewhile(lambda record: record.state in _REFUSED, newest_first)
        return sum(1 for _ in itertools.islice(refused, _RECORDED_REJECTIONS))

    def _given(self) -> bool:
        # Whether an enqueued point is waiting: first points come first, and so does a prior or
        # random point whose process ended before it was used. Optuna's own check scans all trials
        storage = self._optuna._storage
        study_id = self._optuna._study_id
        return bool(storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,)))

    def cut_off(self, record: TrialRecord) -> bool:
        """Whether a proposal was interrupted: its configuration is unknown, or its rejection has
        not been recorded in Optuna.
        """
        if record.config and record.state not in _REFUSED:
            return False
        return self._optuna._storage.get_trial(self._id(record.number)).state == TrialState.RUNNING

    def go_on(self, record: TrialRecord, admit: Admit) -> TrialRecord:
        """Complete a proposal that was interrupted by the end of its process."""
        self._refused -= not record.state.counted
        self._optuna.sampler = self._sampler_for(record.number)
        return self._begin(optuna.trial.Trial(self._optuna, self._id(record.number)), admit)

    def learn(self, number: int, name: str, excess: float) -> None:
        """Report a violated limit to the sampler, if it supports constraints."""
        trial = optuna.trial.Trial(self._optuna, self._id(number))
        if self._sampler in CONSTRAINED and name not in self._frozen(trial).constraints:
            trial.set_constraint(name, excess)

    def _id(self, number: int) -> int:
        theirs = self._carriers.theirs(number)
        return self._optuna._storage.get_trial_id_from_study_id_trial_number(
            self._optuna._study_id, theirs
        )

    def _believed(self) -> dict[str, object] | None:
        if not self._prior.values or self._given():
            return None
        return self._prior.draw(
            self._identity.space, self._identity.seed, len(self._records), self.count
        )

    def _sampler_for(self, number: int) -> optuna.samplers.BaseSampler:
        sampler = make_sampler(self._sampler, self._identity.space, self._identity.seed, number)
        if self._common is not None and isinstance(sampler, optuna.samplers.TPESampler):
            # the default one would compare the parameters of all trials for every proposal
            sampler._search_space = self._common
        return sampler

    def _draw(self, admit: Admit) -> dict[str, object] | None:
        # Rejected proposals should not consume trial numbers: draw until one is new and admissible.
        if self._drawn_in_vain == len(self._records):
            return None  # nothing has changed since the last failure
        space = self._identity.space
        random = Random(derive(self._identity.seed, "draw", len(self._records)))
        broken = ""
        for _ in range(_DRAWS) if self._grid is None else iter(int, 1):
            if self._grid is not None:
                config = next(self._grid, None)
                if config is None:
                    return None
            else:
                config = space.draw(random)
            if space.canonical(config) in self._seen:
                continue
            broken = admit(config).broken
            if not broken:
                return {name: config[name] for name in space.parameters if name in config}
        self._drawn_in_vain = len(self._records)
        if broken and not self._seen:
            rule = (
                f"some configuration must satisfy the constraints, got none in {_DRAWS} random "
                f"ones; the last: {broken}"
            )
            raise StudyError(
                self._place, rule, "Relax constraint.*, or add smaller models to the space"
            )
        return None

    def _begin(self, trial: optuna.Trial, admit: Admit) -> TrialRecord:
        number = self._carriers.ours(trial.number)
        config = self._identity.space.walk(self._suggester(trial))
        key = self._identity.space.canonical(config)
        twin = self._seen.get(key)
        admission = admit(config)
        state = State.RUNNING
        reason = ""
        if twin is not None:
            state = State.DUPLICATE
            reason = f"same configuration as trial {twin}"
        elif admission.broken:
            state = State.INFEASIBLE
            reason = admission.broken
            # The sampler learns which region to avoid; Optuna treats a trial without values as the
            # worst.
            self.learn(number, "cost", admission.excess)
        facts: dict[str, object] = {
            SEED: derive(self._identity.seed, number),
            COST: stored_costs(admission.cost),
        }
        facts[SOURCE] = trial.user_attrs.get(
            SOURCE, proposer(self._sampler, self._identity.seed, number)
        )
        if state != State.RUNNING:
            facts |= {REASON: reason, REJECTED: state.value}
        facts[CONFIG] = config  # last: without it a proposal counts as interrupted
        for name, value in facts.items():
            if name not in trial.user_attrs:
                trial.set_user_attr(name, value)
        if state != State.RUNNING:
            self._optuna.tell(
                trial, state=TrialState.FAIL if state == State.DUPLICATE else TrialState.PRUNED
            )
        record = self._records[number] = from_optuna(self._frozen(trial), number)
        if state == State.RUNNING:
            self._seen[key] = record.number
        else:
            self._refused += 1
        return record

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self._optuna._storage.get_trial(trial._trial_id)

    def _suggester(self, trial: optuna.Trial) -> Suggest:
        # An interrupted proposal is completed: stored values are drawn again, so that the rest
        # comes out the same.
        frozen = self._frozen(trial)
        given = {*trial.relative_params, *frozen.system_attrs.get("fixed_params", {})}

        def suggest(name: str, parameter: Parameter) -> Any:
            if name in frozen.params and name not in given:
                self._optuna.sampler.sample_independent(
                    self._optuna, frozen, name, frozen.distributions[name]
                )
            return suggest_value(trial, name, parameter)

        return suggest
