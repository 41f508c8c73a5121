"""Asynchronous successive halving as published: which trials at a rung continue, stop or pause."""

from dataclasses import dataclass
from typing import ClassVar

from hopsearch.core.seeds import derive
from hopsearch.study.stopping.rule import Rule, Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence


@dataclass(frozen=True)
class AshaStopping(Rule):
    """Asynchronous successive halving, the stopping variant (Li et al. 2020, arXiv 1810.05934).

    At each rung (min_epochs · reduction^k) a trial continues if it is among the best 1/reduction of
    those that have reached it so far, including itself, and always if it is the best of them.
    """

    name: str = "asha"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Stop unless among the best 1/reduction."""
        rung = evidence.of(arrival)
        goes_on = rung.rank(arrival.values) <= max(1, (len(rung) + 1) // self.fidelity.reduction)
        return Verdict.GO if goes_on else Verdict.STOP


@dataclass(frozen=True)
class Hyperband(AshaStopping):
    """Asynchronous Hyperband (Li et al. 2018, arXiv 1603.06560; 2020): brackets of ASHA that start
    stopping at successively later rungs.

    Bracket s skips the first s rungs. A trial's bracket is determined by its number, in Hyperband's
    proportions n_s ∝ reduction^(s_max − s) / (s_max − s + 1), so that each bracket spends about the
    same budget.
    """

    name: str = "hyperband"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At the rungs that the trial's bracket does not skip."""
        return epoch in self.fidelity.rungs[self.bracket(number) : -1]

    def bracket(self, number: int) -> int:
        """The bracket of a trial, the same in every run."""
        brackets = len(self.fidelity.rungs)
        weights = [
            self.fidelity.reduction ** (brackets - 1 - s) / (brackets - s) for s in range(brackets)
        ]
        draw = derive("hyperband", number) / 2**31 * sum(weights)
        for s, weight in enumerate(weights):
            draw -= weight
            if draw < 0:
                return s
        return brackets - 1


@dataclass(frozen=True)
class AshaPromotion(Rule):
    """Asynchronous successive halving as published, the promotion variant (Li et al. 2020, arXiv
    1810.05934, algorithm 2).

    At each rung a trial waits until it is among the best 1/reduction of those that have reached it.
    Others are started meanwhile, so the first arrivals are not trained to the end for lack of
    competitors. When the search is over, the best of the highest rung continues if none has from
    there, so that there is always one with full epochs. Among equals the first arrival is the best:
    if all are at chance level, no more than 1/reduction of them continue.
    """

    name: str = "asha_promotion"
    behind: ClassVar[bool] = True

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Pause unless among the best 1/reduction already."""
        rung = evidence.of(arrival)
        among = rung.rank(arrival.values, self.behind) <= (len(rung) + 1) // self.fidelity.reduction
        return Verdict.GO if among and self._allowed(arrival.epoch, evidence) else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best paused trial among the best 1/reduction of its rung, from the highest rung
        down.
        """
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            first = rung.first_waiting()
            if (
                first
                and first[1] <= len(rung) // self.fidelity.reduction
                and self._allowed(epoch, evidence)
            ):
                return first[0], epoch
        return self._last(evidence) if over else None

    def _allowed(self, epoch: int, evidence: Evidence) -> bool:
        return True

    def _last(self, evidence: Evidence) -> tuple[int, int] | None:
        highest = max(
            (epoch for epoch in self.fidelity.rungs[:-1] if len(evidence.rung(epoch))), default=None
        )
        first = evidence.rung(highest).first_waiting() if highest else None
        return (first[0], highest) if first and highest and first[1] == 1 else None


@dataclass(frozen=True)
class DelayedAsha(AshaPromotion):
    """`AshaPromotion` in which no more than 1/reduction of a rung's trials ever continue (D-ASHA:
    Li et al. 2022, arXiv 2201.06834).

    A sampler that learns proposes ever better configurations. Each is among the best on arrival, so
    in the published rule all of them continue immediately, and the budget is spent on long
    trainings of the first good ones. Here a trial waits for a place.
    """

    name: str = "delayed_asha"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Pause unless among the best 1/reduction, with a place left."""
        rung = evidence.of(arrival)
        places = (len(rung) + 1) // self.fidelity.reduction
        among = rung.rank(arrival.values, self.behind) <= places
        return Verdict.GO if among and rung.gone < places else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best paused trial, from the highest rung with a place left."""
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            places = len(rung) // self.fidelity.reduction
            first = rung.first_waiting()
            if first and first[1] <= places and rung.gone < places:
                return first[0], epoch
        return self._last(evidence) if over else None


@dataclass(frozen=True)
class Pasha(AshaPromotion):
    """Progressive ASHA (Bohdal et al. 2023, arXiv 2207.06940): the maximum length grows only while
    it changes the ranking.

    Trials stop at a cap, initially the second rung. While the order of the trials at the cap
    differs from that at the rung below, the cap is raised by a rung. Soft ranking: two trials
    closer than ``tolerance`` of the spread below may swap.

    Attributes:
        tolerance: share of the lower rung's range of values within which two trials count as equal.
    """

    name: str = "pasha"
    tolerance: float = 0.025

    def _allowed(self, epoch: int, evidence: Evidence) -> bool:
        rungs = self.fidelity.rungs
        place = rungs.index(epoch)
        if place == 0 or evidence.rung(rungs[place + 1]).came:
            return True  # below the first cap, or the cap was already raised
        return not evidence.stable(rungs[place - 1], epoch, self.tolerance)
