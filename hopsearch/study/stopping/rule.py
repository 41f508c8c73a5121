"""The contract of early-stopping rules: small pure functions of the study's records; `pruners` has
them by name.

A rule judges one trial at one epoch, given the trials that reached the same epochs before it
(`Evidence`). It is stateless, so its decisions survive any restart by construction and can be
recomputed from the journal (see `StudyView.audit`). A stopped trial has ended; a paused one waits,
with its checkpoint, until the rule promotes it or the search is over. A trial that fails frees its
places: it is no longer compared with, so the next one can be promoted instead.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol

from hopsearch.space import Fidelity
from hopsearch.study.stopping.rank_agreement import Tau
from hopsearch.study.stopping.rung_values import Arrival, Evidence


class Verdict(enum.StrEnum):
    """The verdict of a rule on a trial."""

    GO = "go"
    WITNESS = "witness"
    """The trial continues whatever its value, to measure whether this epoch ranks trials as later
    ones do.
    """
    STOP = "stop"
    PAUSE = "pause"


class Pruner(Protocol):
    """The contract of an early-stopping rule."""

    @property
    def name(self) -> str:
        """Its name on the command line and in decisions."""

    @property
    def behind(self) -> bool:
        """Whether a trial ranks behind earlier arrivals with the same values, or ahead of them."""

    def decides_at(self, epoch: int, number: int) -> bool:
        """Whether the rule judges trial ``number`` at ``epoch`` (never called for full epochs)."""

    def chooses_at(self, epoch: int, number: int) -> bool:
        """Whether it may stop or pause the trial there; a rule may judge others only to learn from
        them.
        """

    def bracket(self, number: int) -> int:
        """Trials compete within a bracket only."""

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """The verdict on the trial; ``evidence`` is of the trials before it, without itself."""

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The (trial, epoch) that should continue from a pause, if any.

        Args:
            evidence: of all decisions so far.
            over: no new trial will start, and no running one will be judged again.
        """

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Whether a rung is skipped since it does not rank, for the rungs that the rule measures;
        else empty.
        """

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """How well a rung ranks trials, for a rule that measures it."""


@dataclass(frozen=True)
class Rule:
    """Defaults of most rules: one bracket, no pauses, every epoch judged from ``min_epochs`` on."""

    fidelity: Fidelity
    behind: ClassVar[bool] = False

    def decides_at(self, epoch: int, number: int) -> bool:
        """From min_epochs on."""
        return self.fidelity.min_epochs <= epoch < self.fidelity.max_epochs

    def chooses_at(self, epoch: int, number: int) -> bool:
        """Wherever it judges."""
        return self.decides_at(epoch, number)

    def bracket(self, number: int) -> int:
        """One bracket for all."""
        return 0

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Continue."""
        return Verdict.GO

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """None: nothing is paused."""
        return None

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Nothing is measured."""
        return {}

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """Nothing is known."""
        return Tau()
