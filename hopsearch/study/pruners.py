"""Early stopping, each rule a small pure function of what the study has recorded.

A rule looks at one trial at one epoch and at the trials that came to that epoch before it. It keeps no state of its own, so
its decisions survive any restart by construction and can be made again from the journal (see `StudyView.audit`).
Values are oriented so that larger is better.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hopsearch.config import did_you_mean
from hopsearch.errors import ConfigError
from hopsearch.seeds import derive
from hopsearch.space import Fidelity


class Pruner(Protocol):
    """The contract of an early-stopping rule."""

    @property
    def name(self) -> str:
        """The word for it on the command line and in decisions."""

    def decides_at(self, epoch: int, number: int) -> bool:
        """Whether the rule looks at trial ``number`` at ``epoch`` (full epochs are never asked for)."""

    def bracket(self, number: int) -> int:
        """Trials compete within a bracket only."""

    def stops(self, value: float, earlier: Sequence[float]) -> bool:
        """The verdict: ``value`` of the trial, ``earlier`` those of its bracket that came to this epoch before it."""


@dataclass(frozen=True)
class NoPruner:
    """Every trial trains to full epochs."""

    fidelity: Fidelity
    name: str = "none"

    def decides_at(self, epoch: int, number: int) -> bool:
        """Never."""
        return False

    def bracket(self, number: int) -> int:
        """One bracket for all."""
        return 0

    def stops(self, value: float, earlier: Sequence[float]) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving, the stopping variant (Li et al. 2020, arXiv 1810.05934).

    At each rung (min_epochs · reduction^k) a trial goes on if it is among the best 1/reduction of those that have come there
    so far, itself included, and always if it is the best of them.
    """

    fidelity: Fidelity
    name: str = "asha"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def bracket(self, number: int) -> int:
        """One bracket for all."""
        return 0

    def stops(self, value: float, earlier: Sequence[float]) -> bool:
        """Stop unless among the best 1/reduction."""
        rank = 1 + sum(other > value for other in earlier)
        return rank > max(1, (len(earlier) + 1) // self.fidelity.reduction)


@dataclass(frozen=True)
class Hyperband(Asha):
    """Asynchronous Hyperband (Li et al. 2018, arXiv 1603.06560; 2020): brackets of ASHA that begin to stop later and later.

    Bracket s skips the first s rungs. A trial's bracket follows from its number, in Hyperband's proportions
    n_s ∝ reduction^(s_max − s) / (s_max − s + 1), so each bracket spends about the same.
    """

    name: str = "hyperband"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At the rungs that the trial's bracket does not skip."""
        return epoch in self.fidelity.rungs[self.bracket(number) : -1]

    def bracket(self, number: int) -> int:
        """The bracket of a trial, the same in every run."""
        brackets = len(self.fidelity.rungs)
        weights = [self.fidelity.reduction ** (brackets - 1 - s) / (brackets - s) for s in range(brackets)]
        draw = derive("hyperband", number) / 2**31 * sum(weights)
        for s, weight in enumerate(weights):
            draw -= weight
            if draw < 0:
                return s
        return brackets - 1


@dataclass(frozen=True)
class Median:
    """The median rule (Golovin et al. 2017, Vizier): stop below the median of the best-so-far values at the same epoch.

    It looks at every epoch from ``min_epochs`` on, once ``startup`` trials have come there.
    """

    fidelity: Fidelity
    name: str = "median"
    startup: int = 5

    def decides_at(self, epoch: int, number: int) -> bool:
        """From min_epochs on."""
        return self.fidelity.min_epochs <= epoch < self.fidelity.max_epochs

    def bracket(self, number: int) -> int:
        """One bracket for all."""
        return 0

    def stops(self, value: float, earlier: Sequence[float]) -> bool:
        """Stop below the median."""
        return len(earlier) >= self.startup and value < statistics.median(earlier)


PRUNERS: dict[str, Callable[[Fidelity], Pruner]] = {"asha": Asha, "hyperband": Hyperband, "median": Median, "none": NoPruner}


def make_pruner(name: str, fidelity: Fidelity, place: str = "pruner") -> Pruner:
    """The pruner of that name.

    Raises:
        ConfigError: unknown name.
    """
    if name not in PRUNERS:
        raise ConfigError(place, f"unknown pruner {name!r}", did_you_mean(name, PRUNERS))
    return PRUNERS[name](fidelity)
