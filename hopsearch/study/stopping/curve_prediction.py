"""Predictive stopping: a trial continues if, judging by how earlier trials developed, it may still
end above all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hopsearch.study.stopping.asha import AshaPromotion
from hopsearch.study.stopping.extrapolation import Floats, chances, steps, targets
from hopsearch.study.stopping.fronts import Values
from hopsearch.study.stopping.rule import Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence

# trials that continue from the first rung whatever their values, as data for predictions
_WITNESSES = 8
_NEARLY = 1e-9  # relative tolerance of equal rates: if all are equally probable, all continue


@dataclass(frozen=True)
class Curve(AshaPromotion):
    """`AshaPromotion` in which more trials continue from a rung whose values do not yet predict the
    best.

    At a rung it predicts, from the best value so far of each trial that reached it, the probability
    that the trial ends above the best known value: by regressions from each rung to the next,
    fitted on the trials that reached both, with Student-t errors (see `extrapolation`). The most
    probable trials continue, in the number that makes best use of the epochs: it maximises the sum
    of their probabilities divided by the epochs trained for the rung so far plus those these trials
    would still train, but is never smaller than the best 1/reduction. So at an uninformative rung,
    where all are equally probable, all continue; at one that ranks well, only that share does. The
    others wait, and continue if later evidence supports it.

    The first eight trials at the first rung continue whatever their values, and another for each of
    them that fails. A step needs six trials that reached both of its epochs. The prediction extends
    as far as there are such steps, and is compared with the values known up to there; at a rung
    without steps, the rule is `AshaPromotion`. The predicted end is the epoch before the last, the
    latest at which the rule is applied.

    With several objectives, a trial must end above the best first objective among the trials that
    are at least as good in all the others; one that is unmatched in those always qualifies.
    """

    name: str = "curve"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last, and at the epoch before the last, to learn how trainings
        end.
        """
        return epoch in self._looks()

    def chooses_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Continue as a witness, at the end, or if among those that make best use of the epochs;
        else pause.
        """
        rungs = self.fidelity.rungs
        rung = evidence.of(arrival)
        if arrival.epoch not in rungs[:-1]:
            return Verdict.GO
        if arrival.epoch == rungs[0] and len(rungs) > 2 and len(rung.witnesses) < _WITNESSES:
            return Verdict.WITNESS
        chosen = self._chosen(arrival.epoch, evidence, arrival)
        if chosen is None:
            return super().verdict(arrival, evidence)
        return Verdict.GO if arrival.number in chosen else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The most probable paused trial that may continue, from the highest rung down."""
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            if not rung.waiting:
                continue
            chosen = self._chosen(epoch, evidence)
            if chosen is None:
                chosen = rung.standing()[: len(rung) // self.fidelity.reduction]
            first = next((number for number in chosen if number in rung.waiting), None)
            if first is not None:
                return first, epoch
        return self._last(evidence) if over else None

    def _looks(self) -> tuple[int, ...]:
        rungs = self.fidelity.rungs[:-1]
        end = self.fidelity.max_epochs - 1
        return (*rungs, end) if rungs and end > rungs[-1] else tuple(rungs)

    def _chosen(
        self, epoch: int, evidence: Evidence, newest: Arrival | None = None
    ) -> list[int] | None:
        """The trials that continue from a rung, most probable first; None if nothing can be
        predicted yet.
        """
        looks = self._looks()
        at = looks.index(epoch)
        came: list[Mapping[int, Values]] = [evidence.rung(look).values for look in looks]
        if newest is not None:
            came[at] = {**came[at], newest.number: newest.values}
        chain = steps(
            [{number: values[0] for number, values in known.items()} for known in came[at:]]
        )
        if not chain:
            return None
        values_NK = np.array(list(came[at].values()))
        known_MK = np.array(
            [values for known in came[: at + len(chain) + 1] for values in known.values()]
        )
        chance_N = chances(values_NK[:, 0], targets(values_NK, known_MK), chain)
        order_N = np.lexsort((-values_NK[:, 0], -chance_N))  # among equals, the first arrival
        places = max(
            self._places(chance_N[order_N], looks, at, came),
            len(order_N) // self.fidelity.reduction,
        )
        numbers = list(came[at])
        return [numbers[index] for index in order_N[:places]]

    def _places(
        self, chance_N: Floats, looks: Sequence[int], at: int, came: Sequence[Mapping[int, Values]]
    ) -> int:
        """How many trials, by decreasing probability, make best use of the epochs."""
        trained = [
            len(known) * (look - before)
            for known, look, before in zip(came, looks, (0, *looks), strict=False)
        ]  # between two looks
        # epochs that a trial trains from here on
        ahead = sum(trained[at + 1 :]) / len(came[at + 1])
        rate_N = np.cumsum(chance_N) / (
            sum(trained[: at + 1]) + ahead * np.arange(1, len(chance_N) + 1)
        )
        best = float(rate_N.max())
        return int(np.flatnonzero(rate_N >= best * (1 - _NEARLY))[-1]) + 1 if best > 0 else 0
