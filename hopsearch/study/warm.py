"""What a study can learn from another one that was searched before it."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hopsearch.errors import StudyError
from hopsearch.space import Space
from hopsearch.study.records import State, TrialRecord
from hopsearch.study.samplers import distribution
from hopsearch.study.view import StudyView


class WarmStart:
    """Another study's trials, as far as they say anything about ``space``.

    A trial is taken over with the parameters that both spaces have, where its value is inside the new range, and with its curve:
    so its fidelity stays marked, and a sampler sees its best value, as one of the new study (`SamplerView`). It is no trial
    of that study: it is not counted, not ranked, and does not keep its configuration from being trained.

    Args:
        view: the other study.
        space: the new study's.

    Attributes:
        shared: names of the parameters that are taken over.
        missing: those of the new space that the other study did not search, and says nothing about.

    Raises:
        StudyError: no parameter is shared, or the two were not searched for the same.
    """

    def __init__(self, view: StudyView, space: Space) -> None:
        theirs, place = view.identity.space, f"warm_start={view.identity.name}"
        if theirs.objectives != space.objectives:
            rule = f"must be searched for {space.objective} ({space.direction}), got {theirs.objective} ({theirs.direction})"
            raise StudyError(place, rule, "Give another study, or leave it out")
        self.shared = [name for name in space.parameters if name in theirs.parameters]
        self.missing = [name for name in space.parameters if name not in theirs.parameters]
        if not self.shared:
            ours, others = ", ".join(space.parameters), ", ".join(theirs.parameters)
            raise StudyError(place, f"must share a parameter with {ours}, got {others}", "Give a study of a like space")
        self._view, self._space = view, space

    def trials(self) -> list[FrozenTrial]:
        """For Optuna, in order of their numbers."""
        valued = (record for record in self._view.counted() if record.curve and record.state != State.FAILED)
        return [trial for record in valued if (trial := self._inherited(record)) is not None]

    def __str__(self) -> str:
        rest = f"; new here: {', '.join(self.missing)}" if self.missing else ""
        name, data = self._view.identity.name, self._view.identity.data.get("source", "other data")
        return f"warm start: {len(self.trials())} trials of study {name} (on {data}); shared: {', '.join(self.shared)}{rest}"

    def _inherited(self, record: TrialRecord) -> FrozenTrial | None:
        params = self._within(record.params)
        if not params:
            return None
        facts: Mapping[str, Any] = {
            "rejected": State.INHERITED.value,
            "reason": f"trial {record.number} of study {self._view.identity.name}",
            "source": "warm start",
            "cost": record.cost,
            "config": params,
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
        known = {name: params[name] for name in self.shared if name in params and parameters[name].contains(params[name])}
        active = self._space.active(known)
        return {name: parameters[name].normalise(value) for name, value in known.items() if name in active}
