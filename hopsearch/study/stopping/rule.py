"""What an early-stopping rule is: a small pure function of what the study has recorded; `pruners`
has them by name.

A rule looks at one trial at one epoch and at the trials that came to the same epochs before it
(`Evidence`). It keeps no state of its own, so its decisions survive any restart by construction and
can be made again from the journal (see `StudyView.audit`). A trial that is stopped has ended; a
paused one waits, with its checkpoint, until the rule promotes it or the search is over. A trial
that fails frees its places: it is compared with no longer, so the next one can be promoted in its
stead.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol

from hopsearch.space import Fidelity
from hopsearch.study.stopping.rank_agreement import Tau
from hopsearch.study.stopping.rung_values import Arrival, Evidence


class Verdict(enum.StrEnum):
    """What becomes of a trial that a rule has looked at."""

    GO = "go"
    WITNESS = "witness"
    """Goes on whatever its value, so that it is known whether this epoch ranks trials as later ones
    do.
    """
    STOP = "stop"
    PAUSE = "pause"


class Pruner(Protocol):
    """The contract of an early-stopping rule."""

    @property
    def name(self) -> str:
        """The word for it on the command line and in decisions."""

    @property
    def behind(self) -> bool:
        """Whether a trial stands behind those that came before it with the same values, or ahead of
        them.
        """

    def decides_at(self, epoch: int, number: int) -> bool:
        """Whether the rule looks at trial ``number`` at ``epoch`` (full epochs are never asked
        for).
        """

    def chooses_at(self, epoch: int, number: int) -> bool:
        """Whether it may end or pause the trial there; a rule may look at others only to learn from
        them.
        """

    def bracket(self, number: int) -> int:
        """Trials compete within a bracket only."""

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """What becomes of the trial; ``evidence`` is of those before it, without it."""

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The (trial, epoch) that is to go on from a pause, if any.

        Args:
            evidence: all that came.
            over: no new trial will come, and none that runs will be looked at again.
        """

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Whether all go on from a rung since it does not rank, for those that the rule measures;
        else empty.
        """

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """How well a rung ranks trials, for a rule that measures it."""


@dataclass(frozen=True)
class Rule:
    """What most rules share: one bracket, nobody paused, every epoch looked at from ``min_epochs``
    on.
    """

    fidelity: Fidelity
    behind: ClassVar[bool] = False

    def decides_at(self, epoch: int, number: int) -> bool:
        """From min_epochs on."""
        return self.fidelity.min_epochs <= epoch < self.fidelity.max_epochs

    def chooses_at(self, epoch: int, number: int) -> bool:
        """Wherever it looks."""
        return self.decides_at(epoch, number)

    def bracket(self, number: int) -> int:
        """One bracket for all."""
        return 0

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Go on."""
        return Verdict.GO

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """Nobody waits."""
        return None

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Nothing is measured."""
        return {}

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """Nothing is known."""
        return Tau()
