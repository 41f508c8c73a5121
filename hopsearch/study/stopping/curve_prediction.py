"""The rule that predicts: whoever may still end above all others, by how trials before it went on,
is worth its epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hopsearch.study.stopping.asha import AshaPromotion
from hopsearch.study.stopping.extrapolation import Floats, chances, steps, targets
from hopsearch.study.stopping.fronts import Values
from hopsearch.study.stopping.rule import Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence

# that go on from the first rung whatever their values, so that there is something to predict from
_WITNESSES = 8
_NEARLY = 1e-9  # by how much less a rate is the same: where all are equally probable, all go on


@dataclass(frozen=True)
class Curve(AshaPromotion):
    """`AshaPromotion` in which more go on from a rung where their values do not tell yet who will
    be the best.

    At a rung it predicts, from the best so far of each trial that came there, with what probability
    it ends above the best that is known: by regressions from each rung to the next one, fitted on
    the trials that came to both, with Student's errors (see `extrapolation`). As many trials go on,
    the most probable ones first, as make the most of the epochs: the sum of their probabilities
    divided by what was trained for the rung so far and what these would train from there on is the
    largest it can be, but never fewer than the best 1/reduction. So at a rung that says nothing,
    where all are equally probable, all go on; at one that ranks well none does but that share. The
    others wait, and go on when what was learned since says so.

    The first eight that come to the first rung go on whatever their values, and another for each of
    them that fails. A step needs six trials that came to both of its epochs. The prediction goes as
    far as there are such steps, and is compared with what is known up to there; at a rung from
    which there is none yet, the rule is `AshaPromotion`. The end that it predicts is the epoch
    before the last, the latest at which it is asked.

    With several objectives a trial is to end above the best first objective among those that are at
    least as good as it in all the others; one that nobody matches there is sure to.
    """

    name: str = "curve"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last, and at the epoch before the last, to know how trainings
        end.
        """
        return epoch in self._looks()

    def chooses_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Go on as a witness, at the end, or among those that make the most of the epochs; else
        pause.
        """
        rungs, rung = self.fidelity.rungs, evidence.of(arrival)
        if arrival.epoch not in rungs[:-1]:
            return Verdict.GO
        if arrival.epoch == rungs[0] and len(rungs) > 2 and len(rung.witnesses) < _WITNESSES:
            return Verdict.WITNESS
        chosen = self._chosen(arrival.epoch, evidence, arrival)
        if chosen is None:
            return super().verdict(arrival, evidence)
        return Verdict.GO if arrival.number in chosen else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The most probable one that waits where it may go on, from the highest rung down."""
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
        rungs, end = self.fidelity.rungs[:-1], self.fidelity.max_epochs - 1
        return (*rungs, end) if rungs and end > rungs[-1] else tuple(rungs)

    def _chosen(
        self, epoch: int, evidence: Evidence, newest: Arrival | None = None
    ) -> list[int] | None:
        """Who goes on from a rung, the most probable first; None where nothing can be predicted
        yet.
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
        order_N = np.lexsort((-values_NK[:, 0], -chance_N))  # the first that came, of equals
        places = max(
            self._places(chance_N[order_N], looks, at, came),
            len(order_N) // self.fidelity.reduction,
        )
        numbers = list(came[at])
        return [numbers[index] for index in order_N[:places]]

    def _places(
        self, chance_N: Floats, looks: Sequence[int], at: int, came: Sequence[Mapping[int, Values]]
    ) -> int:
        """How many, of chances from the highest, make the most of the epochs."""
        trained = [
            len(known) * (look - before)
            for known, look, before in zip(came, looks, (0, *looks), strict=False)
        ]  # between two looks
        # epochs that one has trained from here on
        ahead = sum(trained[at + 1 :]) / len(came[at + 1])
        rate_N = np.cumsum(chance_N) / (
            sum(trained[: at + 1]) + ahead * np.arange(1, len(chance_N) + 1)
        )
        best = float(rate_N.max())
        return int(np.flatnonzero(rate_N >= best * (1 - _NEARLY))[-1]) + 1 if best > 0 else 0
