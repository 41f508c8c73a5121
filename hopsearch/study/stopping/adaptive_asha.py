"""The rule that looks at its own rungs: whether they rank trials as later ones do is measured as
trials pass, and decides.
"""

from collections.abc import Collection
from dataclasses import dataclass

from hopsearch.study.stopping.asha import AshaPromotion
from hopsearch.study.stopping.rank_agreement import ENOUGH, Tau
from hopsearch.study.stopping.rule import Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence, Rung

_FIRST = 16  # that go on from the first rung at most before it is judged, without those that fail
# of a rung that ranks one in so many goes on whatever its value, so that a wrong judgement is found
# out
_SHARE = 16
_RANKS = 0.1  # what τ less its standard error must be above for trials to be chosen at a rung
_RANKS_BEST = 0.65  # τ above which a rung ranks even its best


@dataclass(frozen=True)
class AdaptiveAsha(AshaPromotion):
    """`AshaPromotion` at rungs that rank, nothing at those that do not, and `DelayedAsha` at those
    that rank even the best.

    Whether the first rung ranks is measured on witnesses, trials that go on from it whatever their
    values: the first that come, up to 16, and another for each that fails. Once twelve of them have
    come to the next rung, all go on from the first one, and it is skipped, unless τ of the two
    orders is above 0.1 by more than its standard error: τ with the next rung overstates what a rung
    says of the end. Each that passes makes τ known better, so a rung that ranks is soon compared at
    again. What waits at a rung that is skipped goes on before new trials are begun. Of those that
    come to a first rung that ranks, one in 16 goes on whatever its value, in case it was luck.

    Later rungs are judged by those that were chosen at them, which costs nothing. These differ less
    than all would, so their τ is lower: such a rung is skipped where τ of at least twelve is below
    0.1 by more than its standard error. Where it is above 0.65, the rung ranks even its best, and
    no more than 1/reduction of its trials are chosen, witnesses aside. Else whoever is among the
    best 1/reduction is: where the best do not differ more of them have to be trained, and so they
    have with several objectives, where the best are a whole front. Of a rung to which too few were
    chosen the one below speaks, and of the first one its witnesses.

    A witness that would not have been chosen may be compared with the others at later rungs. It
    makes no place for another there where these rank even their best, since it tells that fewer
    trials are enough.

    There are no witnesses where the rung after the first is already full epochs.
    """

    name: str = "adaptive_asha"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Go on as a witness, or among the best; else pause."""
        rung = evidence.of(arrival)
        if not self.ranks(arrival.epoch, evidence) or self._asks_for_a_witness(
            arrival.epoch, rung, evidence
        ):
            return Verdict.WITNESS
        places = (
            self._came_by_choice(arrival.epoch, [*rung.values, arrival.number], evidence)
            // self.fidelity.reduction
        )
        among = rung.rank(arrival.values, self.behind) <= places
        return (
            Verdict.GO
            if among and self._has_place(arrival.epoch, rung, places, evidence)
            else Verdict.PAUSE
        )

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best that waits where it may go on, from the highest rung down."""
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            first = rung.first_waiting()
            if first is None:
                continue
            places = self._came_by_choice(epoch, rung.values, evidence) // self.fidelity.reduction
            if not self.ranks(epoch, evidence) or (
                first[1] <= places and self._has_place(epoch, rung, places, evidence)
            ):
                return first[0], epoch
        return self._last(evidence) if over else None

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """How well a rung ranks, by witnesses at the first and where there are enough, else by
        those chosen there.
        """
        upper = self._after(epoch)
        witnesses = evidence.tau(epoch, upper, witnesses=True)
        if epoch == self.fidelity.rungs[0] or witnesses.trials >= ENOUGH:
            return witnesses
        return evidence.tau(epoch, upper, witnesses=False)

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Whether all go on from a rung, for all whose agreement with the next one is measured."""
        return {
            epoch: not self.ranks(epoch, evidence)
            for epoch in self.fidelity.rungs[:-1]
            if self._measured(epoch)
        }

    def ranks(self, epoch: int, evidence: Evidence) -> bool:
        """Whether trials are chosen at a rung; True as long as nothing is known."""
        if not self._measured(epoch):
            return True
        tau, witnesses = (
            self.tau(epoch, evidence),
            evidence.tau(epoch, self._after(epoch), witnesses=True),
        )
        if witnesses.trials >= ENOUGH:
            return tau.value - tau.error > _RANKS
        return (
            epoch == self.fidelity.rungs[0] or tau.trials < ENOUGH or tau.value + tau.error > _RANKS
        )

    def ranks_best(self, epoch: int, evidence: Evidence) -> bool:
        """Whether a rung ranks even its best; where it says too little, as the one below does.
        Never with several objectives.
        """
        if evidence.rung(epoch).several:
            return False
        rungs = self.fidelity.rungs
        # whoever goes on from the last but one trains to the end: that is not waited for
        highest = max(0, len(rungs) - 3)
        for place in range(min(rungs.index(epoch), highest), -1, -1):
            chosen = evidence.tau(rungs[place], rungs[place + 1], witnesses=False)
            if chosen.trials >= ENOUGH:
                return chosen.value > _RANKS_BEST
        first = evidence.tau(rungs[0], rungs[1], witnesses=True)
        return first.trials >= ENOUGH and first.value > _RANKS_BEST

    def _asks_for_a_witness(self, epoch: int, rung: Rung, evidence: Evidence) -> bool:
        if epoch != self.fidelity.rungs[0] or not self._measured(epoch):
            return False
        judged = self.tau(epoch, evidence).trials >= ENOUGH
        return rung.came % _SHARE == 0 if judged else len(rung.witnesses) < _FIRST

    def _came_by_choice(self, epoch: int, numbers: Collection[int], evidence: Evidence) -> int:
        """How many of the trials that came to a rung there are places for, of which a share is
        chosen.
        """
        first = self.fidelity.rungs[0]
        if (
            epoch == first
            or not self.ranks_best(epoch, evidence)
            or not self.ranks(first, evidence)
        ):
            return len(numbers)
        below = evidence.rung(first)
        places = len(below) // self.fidelity.reduction
        come = below.witnesses.intersection(numbers)
        return len(numbers) - sum(below.rank(below.values[number]) > places for number in come)

    def _has_place(self, epoch: int, rung: Rung, places: int, evidence: Evidence) -> bool:
        chosen = rung.gone - len(rung.witnesses)  # a witness takes no place
        return chosen < places or not self.ranks_best(epoch, evidence)

    def _measured(self, epoch: int) -> bool:
        # Whoever goes on from the last rung trains to the end: too dear to measure, and then there
        # is nothing left to choose.
        return self._after(epoch) < self.fidelity.max_epochs

    def _after(self, epoch: int) -> int:
        rungs = self.fidelity.rungs
        return rungs[rungs.index(epoch) + 1]
