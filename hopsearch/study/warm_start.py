"""What a study can learn from another one that was searched before it."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.space import Space
from hopsearch.space.conditions import shown
from hopsearch.storage.mirror import Place
from hopsearch.study.reader import StudyView
from hopsearch.study.record.attrs import CONFIG, COST, REASON, REJECTED, SOURCE
from hopsearch.study.record.trial import State, TrialRecord
from hopsearch.study.sampling.samplers import LEARNING, SAMPLERS, distribution


class WarmStart:
    """Another study's trials, as far as they say anything about ``space``.

    A trial is taken over with the parameters that both spaces have, where its value is inside the
    new range, and with its curve: so its fidelity stays marked, and a sampler sees it with what it
    is expected to have, as one of the new study (`SamplerView`). It is no trial of that study: it
    is not counted, not ranked, and does not keep its configuration from being trained.

    Args:
        view: the other study.
        space: the new study's.

    Attributes:
        shared: names of the parameters that are taken over.
        missing: those of the new space that the other study did not search, and says nothing about.
        dropped: those that only the other study searched: its trials are taken over whatever their
            values of these were.

    Raises:
        StudyError: no parameter is shared, or the two were not searched for the same.
    """

    def __init__(self, view: StudyView, space: Space) -> None:
        theirs, place = view.identity.space, f"warm_start={view.identity.name}"
        if theirs.objectives != space.objectives:
            rule = (
                f"must be searched for {space.objective} ({space.direction}), got "
                f"{theirs.objective} ({theirs.direction})"
            )
            raise StudyError(place, rule, "Give another study, or leave it out")
        self.shared = [name for name in space.parameters if name in theirs.parameters]
        self.missing = [name for name in space.parameters if name not in theirs.parameters]
        self.dropped = [name for name in theirs.parameters if name not in space.parameters]
        if not self.shared:
            ours, others = ", ".join(space.parameters), ", ".join(theirs.parameters)
            raise StudyError(
                place,
                f"must share a parameter with {ours}, got {others}",
                "Give a study of a like space",
            )
        self._view, self._space = view, space

    def trials(self) -> list[FrozenTrial]:
        """For Optuna, in order of their numbers."""
        return [
            trial for record in self._valued() if (trial := self._inherited(record)) is not None
        ]

    def __str__(self) -> str:
        identity, taken = self._view.identity, len(self.trials())
        theirs, ours = identity.space.fixed, self._space.fixed
        searched = {*self._space.parameters, *identity.space.parameters}
        other = [
            name
            for name in sorted({*theirs, *ours} - searched)
            if _fixed(theirs, name) != _fixed(ours, name)
        ]
        parts = {
            "shared": self.shared,
            "left out where it is outside the range here": [
                f"{name} ({count})" for name, count in self._outside().items()
            ],
            "new here, so unknown": [
                f"{name} ({_fixed(theirs, name)} there)" for name in self.missing
            ],
            "not searched here, so taken for the same whatever it was": [
                f"{x} ({_fixed(ours, x)} here)" for x in self.dropped
            ],
            "fixed otherwise there": [
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
        """Of how many trials a parameter's value cannot be taken over, by name, in words."""
        parameters, params = self._space.parameters, [record.params for record in self._valued()]
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
        facts: Mapping[str, Any] = {
            REJECTED: State.INHERITED.value,
            REASON: f"trial {record.number} of study {self._view.identity.name}",
            SOURCE: "warm start",
            COST: record.cost,
            CONFIG: params,
        }
        return optuna.create_trial(
            state=TrialState.PRUNED,
            params=params,
            distributions={name: distribution(self._space.parameters[name]) for name in params},
            user_attrs=dict(facts),
            intermediate_values=record.curve,
        )

    def _within(self, params: Mapping[str, Any]) -> dict[str, Any]:
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


def _fixed(values: Mapping[str, Any], name: str) -> str:
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
    """The study to learn from, unless this one has begun: what a study begins with is part of it.

    Args:
        other: its name, ``warm_start=``.
        storage: where it lies.
        sampler: of the new study.
        space: of the new study.
        begun: the new study, if it is there already.
        say: told what becomes of it.

    Raises:
        UserError: the sampler learns from no other study, or there is no such study.
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
            why = f"study {name} already exists; a new study=<name> would learn from it"
            say(f"warm_start={other} ignored: {why}")
        return None
    if sampler in SAMPLERS and sampler not in LEARNING:
        rule = f"the sampler must be one that learns from another study, got {sampler}"
        hint = f"Take sampler={' or '.join(LEARNING)}, or leave warm_start={other} out"
        raise ConfigError("warm_start", rule, hint)
    place = Place.of(storage, other)
    place.bring_journal()
    warm = WarmStart(StudyView.open(place.folder), space)
    say(str(warm))
    return warm
