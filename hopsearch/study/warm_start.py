"""Warm start: what a study can learn from an earlier one."""

from collections.abc import Callable, Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.space import Space, stored_costs
from hopsearch.space.conditions import shown
from hopsearch.storage.mirror import Place
from hopsearch.study.reader import StudyView
from hopsearch.study.record.journal_keys import CONFIG, COST, REASON, REJECTED, SOURCE
from hopsearch.study.record.trial import State, TrialRecord
from hopsearch.study.sampling.samplers import LEARNING, SAMPLERS, distribution


class WarmStart:
    """Another study's trials, as far as they are informative about ``space``.

    A trial is inherited with the parameters common to both spaces, if its values are inside the new
    ranges, and with its curve: its fidelity stays visible, and samplers see its expected final
    value, as for trials of the new study (`SamplerView`). It is not a trial of the new study: it is
    neither counted nor ranked, and its configuration may be trained again.

    Args:
        view: the other study.
        space: the new study's.

    Attributes:
        shared: names of the inherited parameters.
        missing: parameters of the new space that the other study did not search.
        dropped: parameters that only the other study searched; their values are ignored.

    Raises:
        StudyError: no parameter is shared, or the objectives differ.
    """

    def __init__(self, view: StudyView, space: Space) -> None:
        theirs = view.identity.space
        place = f"warm_start={view.identity.name}"
        if theirs.objectives != space.objectives:
            rule = (
                f"must have the objective {space.objective} ({space.direction}), got "
                f"{theirs.objective} ({theirs.direction})"
            )
            raise StudyError(place, rule, "Choose another study, or leave it out")
        self.shared = [name for name in space.parameters if name in theirs.parameters]
        self.missing = [name for name in space.parameters if name not in theirs.parameters]
        self.dropped = [name for name in theirs.parameters if name not in space.parameters]
        if not self.shared:
            ours = ", ".join(space.parameters)
            others = ", ".join(theirs.parameters)
            raise StudyError(
                place,
                f"must share a parameter with {ours}, got {others}",
                "Choose a study of a similar space",
            )
        self._view = view
        self._space = space

    def trials(self) -> list[FrozenTrial]:
        """For Optuna, in order of their numbers."""
        return [
            trial for record in self._valued() if (trial := self._inherited(record)) is not None
        ]

    def __str__(self) -> str:
        identity = self._view.identity
        taken = len(self.trials())
        theirs = identity.space.fixed
        ours = self._space.fixed
        searched = {*self._space.parameters, *identity.space.parameters}
        other = [
            name
            for name in sorted({*theirs, *ours} - searched)
            if _fixed(theirs, name) != _fixed(ours, name)
        ]
        parts = {
            "shared": self.shared,
            "ignored outside the range here": [
                f"{name} ({count})" for name, count in self._outside().items()
            ],
            "new here, unknown there": [
                f"{name} ({_fixed(theirs, name)} there)" for name in self.missing
            ],
            "not searched here, treated as equal": [
                f"{x} ({_fixed(ours, x)} here)" for x in self.dropped
            ],
            "fixed differently there": [
                f"{name} ({_fixed(theirs, name)} there, {_fixed(ours, name)} here)"
                for name in other
            ],
        }
        what = (
            f"{taken} trial{'s' if taken != 1 else ''} of study {identity.name} (on "
            f"{identity.data.get('source', 'other data')})"
        )
        failed = sum(record.state == State.FAILED for record in self._view.counted())
        what += f", without {failed} that failed" if failed else ""
        return "; ".join(
            [
                f"warm start: {what}",
                *(f"{why}: {', '.join(names)}" for why, names in parts.items() if names),
            ]
        )

    def _valued(self) -> list[TrialRecord]:
        return [
            record
            for record in self._view.counted()
            if record.curve and record.state != State.FAILED
        ]

    def _outside(self) -> dict[str, str]:
        """By parameter, the number of trials whose value cannot be inherited, in words."""
        parameters = self._space.parameters
        params = [record.params for record in self._valued()]
        counts = {
            name: sum(name in each and not parameters[name].contains(each[name]) for each in params)
            for name in self.shared
        }
        return {
            name: f"{count} trial{'s' if count != 1 else ''}"
            for name, count in counts.items()
            if count
        }

    def _inherited(self, record: TrialRecord) -> FrozenTrial | None:
        params = self._within(record.params)
        if not params:
            return None
        facts: Mapping[str, object] = {
            REJECTED: State.INHERITED.value,
            REASON: f"trial {record.number} of study {self._view.identity.name}",
            SOURCE: "warm start",
            COST: stored_costs(record.cost),
            CONFIG: params,
        }
        return optuna.create_trial(
            state=TrialState.PRUNED,
            params=params,
            distributions={name: distribution(self._space.parameters[name]) for name in params},
            user_attrs=dict(facts),
            intermediate_values=record.curve,
        )

    def _within(self, params: Mapping[str, object]) -> dict[str, object]:
        parameters = self._space.parameters
        known = {
            name: params[name]
            for name in self.shared
            if name in params and parameters[name].contains(params[name])
        }
        active = self._space.active(known)
        return {
            name: parameters[name].normalise(value)
            for name, value in known.items()
            if name in active
        }


def _fixed(values: Mapping[str, object], name: str) -> str:
    value = values.get(name, "default")
    return value if isinstance(value, str) else shown(value)


def learn_from(
    other: str,
    storage: str,
    sampler: str,
    space: Space,
    begun: StudyView | None,
    say: Callable[[str], None],
) -> WarmStart | None:
    """The study to learn from, unless this one exists already: inherited trials are part of a study
    from its creation.

    Args:
        other: its name, ``warm_start=``.
        storage: where it is stored.
        sampler: of the new study.
        space: of the new study.
        begun: the new study, if it exists already.
        say: receives a message about the outcome.

    Raises:
        UserError: the sampler cannot learn from another study, or there is no such study.
    """
    if begun:
        inherited = [one for one in begun.records.values() if one.state == State.INHERITED]
        known = sum(record.reason.endswith(f" of study {other}") for record in inherited)
        name = begun.identity.name
        if known:
            say(
                f"warm start: {known} trials of study {other} were copied when study {name} started"
            )
        else:
            why = f"study {name} already exists; start a new study=<name> to learn from it"
            say(f"warm_start={other} ignored: {why}")
        return None
    if sampler in SAMPLERS and sampler not in LEARNING:
        rule = f"the sampler must support learning from another study, got {sampler}"
        hint = f"Use sampler={' or '.join(LEARNING)}, or leave warm_start={other} out"
        raise ConfigError("warm_start", rule, hint)
    place = Place.of(storage, other)
    place.bring_journal()
    warm = WarmStart(StudyView.open(place.folder), space)
    say(str(warm))
    return warm
