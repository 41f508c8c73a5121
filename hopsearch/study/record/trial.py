"""The record of a trial, and of decisions about it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hopsearch.space import Value, read_costs
from hopsearch.study.record.format_version import known_fields
from hopsearch.study.record.journal_keys import (
    BROKEN,
    CONFIG,
    COST,
    DECISION,
    FAILURE,
    LOSSES,
    MEASURED,
    OPEN,
    PROGRESS,
    PROMOTION,
    REASON,
    REJECTED,
    SEED,
    SOURCE,
    STARTED,
)


class State(enum.StrEnum):
    """The state of a trial.

    ::

        ask ─▶ RUNNING ─┬─▶ COMPLETE     trained to full epochs
                 ▲  │   ├─▶ PRUNED       stopped early by a decision; its curve is kept
          resume │  │   ├─▶ FAILED       diverged, out of memory, or an error: `reason` says which
                 │  │   └─▶ PAUSED       waits at a rung: RUNNING again if promoted, else PRUNED
                 └──┘ killed, preempted, interrupted: stays RUNNING, resumes from its checkpoint
        the search is ended by a budget or an interruption ─▶ OPEN: was RUNNING or PAUSED,
                                         and is that again when the search continues
        ask ─▶ INFEASIBLE | DUPLICATE    never trained, not counted as a trial
        another study ─▶ INHERITED       trained there, for the sampler to learn from; not counted
    """

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    OPEN = "open"
    INFEASIBLE = "infeasible"
    DUPLICATE = "duplicate"
    INHERITED = "inherited"

    @property
    def counted(self) -> bool:
        """Whether a trial in this state counts towards ``trials=``."""
        return self not in (State.INFEASIBLE, State.DUPLICATE, State.INHERITED)

    @property
    def ended(self) -> bool:
        """Whether a trial in this state will never train again."""
        return self not in (State.RUNNING, State.PAUSED, State.OPEN)


@dataclass(frozen=True)
class Decision:
    """A stopping decision with its evidence, so that anyone can recompute it.

    Attributes:
        epoch: epoch at which it was made.
        value: the trial's best objective value up to that epoch.
        order: number of earlier decisions (and promotions) of the study; orders the evidence.
        rank: 1 for the best among the trial and those that reached this epoch before it.
        of: the number of these.
        stop: the verdict.
        rule: the pruner that made it.
        pause: the trial waits instead of continuing.
        witness: it continues whatever its value, to measure whether this epoch ranks trials as
            later ones do.
    """

    epoch: int
    value: float
    order: int
    rank: int
    of: int
    stop: bool
    rule: str
    pause: bool = False
    witness: bool = False


@dataclass(frozen=True)
class Promotion:
    """The decision that a paused trial continues, or (`retired`) that it never will.

    Attributes:
        epoch: at which it was paused.
        order: as in `Decision`.
        rule: the pruner that made it.
        over: whether no other trial was going to be judged any more.
        retired: the search is over and the trial ends here.
        reach: if it continues because a budget is ending: the epochs a worker could still train,
            too few for a new trial, while the trial is ahead of all others at the rungs, see
            `finalists`; else 0.
    """

    epoch: int
    order: int
    rule: str
    over: bool
    retired: bool = False
    reach: int = 0


@dataclass(frozen=True)
class Failure:
    """The end of a trial that failed. Its places in the rungs are freed: from then on others are
    compared without it.

    Attributes:
        reason: why, in words.
        order: as in `Decision`.
        learn: whether the configuration caused it, so that the sampler treats it as the worst;
            false for lost machines.
        epochs: trained or started, beyond those of the trial's curve.
        seconds: their training time.
    """

    reason: str
    order: int
    learn: bool = True
    epochs: int = 0
    seconds: float = 0.0


@dataclass
class TrialRecord:
    """One trial as the study knows it.

    Attributes:
        number: the trial's unique number.
        state: see `State`.
        config: every setting by dotted name, searched and fixed.
        params: only the searched ones.
        seed: the trial's seed.
        source: ``sampler name`` or ``first point``.
        cost: ``n_params``, ``flops``, ``memory``, computed before the trial ran, and ``latency``,
            measured later.
        curve: objective by epoch.
        metrics: the newest epoch's other metrics by name, to five digits: losses, and means of the
            model's own measures.
        peak: of the epoch with the best value: accuracies, loss, and the recall of each class
            unless there are many.
        decisions: by epoch.
        promotions: by the epoch at which it was paused.
        reason: why it failed, was never trained, or is open; empty otherwise.
        failure: how it failed; None if it has not, or in a study of an older version.
        seconds: training time spent on the epochs of the curve.
        broken: relative excess over a limit measured during training, in which case it has failed;
            0 for none.
        losses: how often its worker was lost.
        lost_epochs, lost_seconds: trained by those workers and not in the curve, or repeated.
        lost_at: an epoch, and how often it had been started when last recorded.
        checkpoint: path of its newest checkpoint, relative to the study's folder.
        came: epochs of the whole study at its first report, including that one; 0 in a study of an
            older version.
        rose: the same, at its best value.
        started, ended: Unix time; 0 if it has not.
    """

    number: int
    state: State
    config: dict[str, object] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)
    seed: int = 0
    source: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    curve: dict[int, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    promotions: dict[int, Promotion] = field(default_factory=dict)
    reason: str = ""
    failure: Failure | None = None
    seconds: float = 0.0
    broken: float = 0.0
    losses: int = 0
    lost_epochs: int = 0
    lost_seconds: float = 0.0
    lost_at: tuple[int, int] = (0, 0)
    checkpoint: str = ""
    came: int = 0
    rose: int = 0
    started: float = 0.0
    ended: float = 0.0

    @property
    def epoch(self) -> int:
        """Epochs reported so far."""
        return max(self.curve, default=0)

    def best(self, sign: int, up_to: int | None = None) -> tuple[int, float] | None:
        """The first best (epoch, value) up to an epoch; ``sign`` is 1 to maximise, -1 to
        minimise.
        """
        known = {
            epoch: value for epoch, value in self.curve.items() if up_to is None or epoch <= up_to
        }
        if not known:
            return None
        epoch = max(known, key=lambda epoch: (sign * known[epoch], -epoch))
        return epoch, known[epoch]

    @property
    def epochs_trained(self) -> int:
        """Epochs trained for it: those of its curve, those lost with workers, and the one in which
        it failed.
        """
        return self.epoch + self.lost_epochs + (self.failure.epochs if self.failure else 0)

    @property
    def seconds_trained(self) -> float:
        """Their training time in seconds."""
        return self.seconds + self.lost_seconds + (self.failure.seconds if self.failure else 0.0)

    def seconds_to(self, epoch: int) -> float:
        """Estimated seconds to train until ``epoch``, from its epochs so far; needs at least
        one.
        """
        return (epoch - self.epoch) * self.seconds / self.epoch

    @property
    def made(self) -> list[Decision | Promotion]:
        """All decisions about it."""
        return [*self.decisions.values(), *self.promotions.values()]

    def sent_on(self, epoch: int) -> bool:
        """Whether it was continued to full epochs before it reached ``epoch``, whatever its values;
        see `finalists`.
        """
        return any(
            promotion.reach for promotion in self.promotions.values() if promotion.epoch < epoch
        )

    @property
    def waits(self) -> bool:
        """Whether the last decision paused it."""
        made = self.decisions.get(self.epoch)
        return made is not None and made.pause and made.epoch not in self.promotions


_STATES = {
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
}


def costs_of(attrs: Mapping[str, Any]) -> dict[str, float]:
    """A trial's costs, computed and measured."""
    return read_costs(attrs.get(COST, {}) | attrs.get(MEASURED, {}))


def from_optuna(trial: FrozenTrial, number: int, is_open: bool = False) -> TrialRecord:
    """Read a record back from Optuna's trial.

    Args:
        trial: the Optuna trial that carries it.
        number: our number.
        is_open: whether it was only closed in Optuna because its search ended.
    """
    attrs: Mapping[str, Any] = trial.user_attrs
    progress = attrs.get(PROGRESS, {})
    losses = attrs.get(LOSSES, 0)
    # a number in an older version
    lost: Mapping[str, Any] = losses if isinstance(losses, dict) else {"count": losses}
    rejected = attrs.get(REJECTED)
    state = State(rejected) if rejected else _STATES.get(trial.state, State.FAILED)
    decisions = [
        known_fields(Decision, value) for key, value in attrs.items() if key.startswith(DECISION)
    ]
    promotions = [
        known_fields(Promotion, value) for key, value in attrs.items() if key.startswith(PROMOTION)
    ]
    failure = known_fields(Failure, attrs[FAILURE]) if FAILURE in attrs else None
    record = TrialRecord(
        number=number,
        state=state,
        config=dict(attrs.get(CONFIG, {})),
        params=dict(trial.params),
        seed=int(attrs.get(SEED, 0)),
        source=str(attrs.get(SOURCE, "")),
        cost=costs_of(attrs),
        curve={
            int(step): float(value) for step, value in sorted(trial.intermediate_values.items())
        },
        metrics=dict(progress.get("metrics", {})),
        peak=dict(progress.get("peak", {})),
        decisions={
            decision.epoch: decision
            for decision in sorted(decisions, key=lambda decision: decision.epoch)
        },
        promotions={
            promotion.epoch: promotion
            for promotion in sorted(promotions, key=lambda promotion: promotion.epoch)
        },
        reason=failure.reason if failure else str(attrs.get(REASON, "")),
        failure=failure,
        seconds=float(progress.get("seconds", 0.0)),
        broken=float(attrs.get(BROKEN, 0.0)),
        losses=int(lost.get("count", 0)),
        lost_epochs=int(lost.get("epochs", 0)),
        lost_seconds=float(lost.get("seconds", 0.0)),
        lost_at=(int(lost.get("epoch", 0)), int(lost.get("begun", 0))),
        checkpoint=str(progress.get("checkpoint", "")),
        came=int(progress.get("came", 0)),
        rose=int(progress.get("rose", 0)),
        started=float(
            attrs.get(STARTED)
            or (trial.datetime_start.timestamp() if trial.datetime_start else 0.0)
        ),
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
    )
    if is_open:
        record.state = State.OPEN
        record.reason = str(attrs[OPEN]["why"])
        record.ended = 0.0
    elif state == State.PRUNED and record.broken:
        record.state = State.FAILED
    elif state == State.RUNNING and record.waits:
        record.state = State.PAUSED
    return record
