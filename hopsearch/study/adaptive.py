"""The rule that looks at its own rungs: whether they rank trials as later ones do is measured as trials pass, and decides."""

from dataclasses import dataclass

from hopsearch.study.agreement import Tau
from hopsearch.study.evidence import Arrival, Evidence, Rung
from hopsearch.study.rules import AshaPromotion, Verdict

_FEW = 8  # trials that a rung is judged by at least
_FIRST = 16  # that go on from the first rung at most before it is judged
_SHARE = 16  # of a rung that ranks one in so many goes on whatever its value, so that a wrong judgement is found out
_RANKS = 0.25  # τ above which it pays to choose at a rung
_SELECTED = 12  # chosen trials by which a later rung is found not to rank
_RANKS_SELECTED = 0.1  # τ over chosen trials below which it does not: they differ less, so that theirs is lower
_RANKS_BEST = 0.5  # τ over them above which a rung ranks even its best


@dataclass(frozen=True)
class AdaptiveAsha(AshaPromotion):
    """`AshaPromotion` at rungs that rank, nothing at those that do not, and `DelayedAsha` at those that rank even the best.

    Whether the first rung ranks is measured on trials that go on from it whatever their values (witnesses): up to the first 16
    that come. Once eight of them have come to the next rung, τ of the two orders less its standard error must be above 0.25, else
    all go on from there as well: the first rung is skipped, and what waits there is begun again. With each that passes τ is known
    better, so a rung that ranks is taken back. Of those that come to a rung that ranks, one in 16 goes on whatever its value.

    A τ of 0.25 is about where it pays to choose. Keeping the best third of trials whose values at two rungs correlate by ρ raises
    their mean by 1.1 ρ standard deviations; without choosing, the same epochs bring 1.7 times as many to the next rung, whose best is
    then better by 0.3 to 0.4. So ρ must be above 0.35, which is τ = 0.23.

    Later rungs are judged by those that were chosen at them, which costs nothing: such a rung is skipped where τ of at least twelve
    is surely (by its standard error) below 0.1. Where it is above 0.5, the rung ranks even its best, and no more than 1/reduction of
    its trials go on. Else whoever is among the best third does: where the best do not differ, more of them have to be trained.

    There are no witnesses where the rung after the first is already full epochs.
    """

    name: str = "adaptive_asha"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Go on as a witness, or among the best; else pause."""
        rung = evidence.of(arrival)
        if not self.ranks(arrival.epoch, evidence) or self._asks_for_a_witness(arrival.epoch, rung, evidence):
            return Verdict.WITNESS
        places = (len(rung) + 1) // self.fidelity.reduction
        among = rung.rank(arrival.values, self.behind) <= places
        return Verdict.GO if among and self._has_place(arrival.epoch, rung, places, evidence) else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best that waits where it may go on, from the highest rung down."""
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            first, places = rung.first_waiting(), len(rung) // self.fidelity.reduction
            if first is None:
                continue
            if not self.ranks(epoch, evidence) or (first[1] <= places and self._has_place(epoch, rung, places, evidence)):
                return first[0], epoch
        return self._last(evidence) if over else None

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """How well a rung ranks, as far as it is judged by that: by witnesses where there are enough, else by those chosen there."""
        upper = self._after(epoch)
        witnesses = evidence.tau(epoch, upper, witnesses=True)
        if epoch == self.fidelity.rungs[0] or witnesses.trials >= _FEW:
            return witnesses
        return evidence.tau(epoch, upper, witnesses=False)

    def ranks(self, epoch: int, evidence: Evidence) -> bool:
        """Whether trials are chosen at a rung; True as long as nothing is known."""
        if not self._measured(epoch):
            return True
        tau, witnesses = self.tau(epoch, evidence), evidence.tau(epoch, self._after(epoch), witnesses=True)
        if witnesses.trials >= _FEW:
            return tau.value - tau.error > _RANKS
        return epoch == self.fidelity.rungs[0] or tau.trials < _SELECTED or tau.value + tau.error > _RANKS_SELECTED

    def ranks_best(self, epoch: int, evidence: Evidence) -> bool:
        """Whether a rung ranks even its best; the last one, whose trials train to the end, as the one below it."""
        rungs = self.fidelity.rungs
        place = rungs.index(epoch)
        if place == len(rungs) - 2:
            place = max(0, place - 1)
        tau = evidence.tau(rungs[place], rungs[place + 1], witnesses=False)
        return tau.trials >= _FEW and tau.value > _RANKS_BEST

    def _asks_for_a_witness(self, epoch: int, rung: Rung, evidence: Evidence) -> bool:
        if epoch != self.fidelity.rungs[0] or not self._measured(epoch):
            return False
        judged = self.tau(epoch, evidence).trials >= _FEW
        return rung.came % _SHARE == 0 if judged else rung.came < _FIRST

    def _has_place(self, epoch: int, rung: Rung, places: int, evidence: Evidence) -> bool:
        return rung.gone < places or not self.ranks_best(epoch, evidence)

    def _measured(self, epoch: int) -> bool:
        # Whoever goes on from the last rung trains to the end: too dear to measure, and then there is nothing left to choose.
        return self._after(epoch) < self.fidelity.max_epochs

    def _after(self, epoch: int) -> int:
        rungs = self.fidelity.rungs
        return rungs[rungs.index(epoch) + 1]
