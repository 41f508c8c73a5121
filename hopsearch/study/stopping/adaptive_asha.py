"""ASHA that checks its own rungs: it measures whether they rank trials as later ones do, and skips
those that do not.
"""

from collections.abc import Collection
from dataclasses import dataclass

from hopsearch.study.stopping.asha import AshaPromotion
from hopsearch.study.stopping.rank_agreement import ENOUGH, Tau
from hopsearch.study.stopping.rule import Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence, Rung

_FIRST = 16  # most witnesses at the first rung before it is judged, not counting failed ones
# at a rung that ranks, one trial in this many continues whatever its value, so that a wrong
# judgement is detected
_SHARE = 16
_RANKS = 0.1  # threshold of τ minus its standard error above which trials are selected at a rung
_RANKS_BEST = 0.65  # τ above which a rung also ranks its best trials


@dataclass(frozen=True)
class AdaptiveAsha(AshaPromotion):
    """`AshaPromotion` at rungs that rank, no selection at those that do not, and `DelayedAsha` at
    those that rank even the best trials.

    Whether the first rung ranks is measured on witnesses, trials that continue from it whatever
    their values: the first arrivals, up to 16, and another for each that fails. Once twelve of them
    have reached the next rung, the first one is skipped (all continue from it), unless τ of the two
    orders exceeds 0.1 by more than its standard error: τ with the next rung overstates how well a
    rung predicts the end. Each further trial makes τ more accurate, so a rung that does rank is
    soon used again. Trials paused at a skipped rung continue before new trials are started. At a
    first rung that ranks, one in 16 trials continues whatever its value, in case the judgement was
    luck.

    Later rungs are judged by the trials selected at them, which costs nothing. These differ less
    than all trials would, so their τ is lower: such a rung is skipped if τ of at least twelve is
    below 0.1 by more than its standard error. If τ is above 0.65, the rung ranks even its best
    trials, and no more than 1/reduction of its trials are selected, not counting witnesses.
    Otherwise every trial that is among the best 1/reduction on arrival is selected: if the best do
    not differ, more of them must be trained, and likewise with several objectives, where the best
    are a whole front. A rung with too few selected trials is judged like the one below, and the
    first one by its witnesses.

    A witness that would not have been selected may be compared with the others at later rungs. If
    these rank even their best, it does not open a place for another trial there.

    There are no witnesses if the rung after the first is already full epochs.
    """

    name: str = "adaptive_asha"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Continue as a witness, or if among the best; else pause."""
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
        """The best paused trial that may continue, from the highest rung down."""
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
        """How well a rung ranks, by witnesses at the first rung and wherever there are enough, else
        by the trials selected there.
        """
        upper = self._after(epoch)
        witnesses = evidence.tau(epoch, upper, witnesses=True)
        if epoch == self.fidelity.rungs[0] or witnesses.trials >= ENOUGH:
            return witnesses
        return evidence.tau(epoch, upper, witnesses=False)

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Whether a rung is skipped, for all rungs whose agreement with the next one is
        measured.
        """
        return {
            epoch: not self.ranks(epoch, evidence)
            for epoch in self.fidelity.rungs[:-1]
            if self._measured(epoch)
        }

    def ranks(self, epoch: int, evidence: Evidence) -> bool:
        """Whether trials are selected at a rung; True as long as nothing is known."""
        if not self._measured(epoch):
            return True
        tau = self.tau(epoch, evidence)
        witnesses = evidence.tau(epoch, self._after(epoch), witnesses=True)
        if witnesses.trials >= ENOUGH:
            return tau.value - tau.error > _RANKS
        return (
            epoch == self.fidelity.rungs[0] or tau.trials < ENOUGH or tau.value + tau.error > _RANKS
        )

    def ranks_best(self, epoch: int, evidence: Evidence) -> bool:
        """Whether a rung ranks even its best trials; with too little data, as the one below. Never
        with several objectives.
        """
        if evidence.rung(epoch).several:
            return False
        rungs = self.fidelity.rungs
        # trials that continue from the last but one train to the end: not waited for
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
        """The number of trials at a rung of which a share is selected."""
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
        # Trials that continue from the last rung train to the end: too expensive to measure, and
        # nothing is left to select afterwards.
        return self._after(epoch) < self.fidelity.max_epochs

    def _after(self, epoch: int) -> int:
        rungs = self.fidelity.rungs
        return rungs[rungs.index(epoch) + 1]
