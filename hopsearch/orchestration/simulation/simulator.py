"""Simulates a search: the real study logic, with simulated workers, time, failures and
preemptions.

A search of a hundred trials on sixteen workers takes about a second, so that rules can be compared
over many seeds, and every kind of interruption can be tested. What the trials report comes from a
`Landscape`: a table of recorded curves, or a formula.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hopsearch.core.seeds import derive
from hopsearch.orchestration.budget import Budget
from hopsearch.orchestration.trial_queue import TrialQueue
from hopsearch.study.record.trial import TrialRecord
from hopsearch.study.sampling.proposals import Admission
from hopsearch.study.writer import Study


@dataclass(frozen=True)
class Training:
    """The result of training a configuration to its end.

    Attributes:
        values: the objective after each epoch; fewer than full epochs if it diverges after the
            last.
        seconds: of each epoch.
    """

    values: Sequence[float]
    seconds: Sequence[float]


class Landscape(Protocol):
    """The simulated problem."""

    def cost(self, config: dict[str, object]) -> dict[str, int]:
        """``n_params``, ``flops``, … of a configuration."""

    def train(self, config: dict[str, object], seed: int) -> Training:
        """The training of a configuration with a trial's seed; deterministic in both."""


@dataclass(frozen=True)
class Faults:
    """Simulated faults, each with a probability per epoch.

    Attributes:
        failure: the trial ends as if it had diverged.
        preemption: the worker is lost with its current epoch, and returns after ``away`` seconds.
        away: see above.
        seed: determines when.
    """

    failure: float = 0.0
    preemption: float = 0.0
    away: float = 60.0
    seed: int = 0

    def strikes(self, chance: float, *words: object) -> bool:
        """Whether an event of that probability happens here; deterministic in the given words."""
        return chance > 0 and derive("fault", self.seed, *words) / 2**31 < chance


@dataclass(frozen=True)
class Event:
    """A report from a worker.

    Attributes:
        clock: simulated seconds since the search started.
        epochs: trained by all trials so far, including those lost to preemptions.
        number: the trial.
        epoch: its epoch; 0 if it failed or was preempted.
        value: its objective, None if it failed or was preempted.
    """

    clock: float
    epochs: int
    number: int
    epoch: int
    value: float | None


class Simulation:
    """A search on a simulated cluster. `events` runs it; between two events the study may be closed
    and reopened.

    Args:
        study: makes the decisions; may be replaced by the same study reopened.
        landscape: the simulated problem.
        workers: how many train at once.
        trials: number of trials of the search.
        faults: the simulated faults.
        epochs: budget for all trials together; when it is used up, running trials stop after their
            epoch.
    """

    def __init__(
        self,
        study: Study,
        landscape: Landscape,
        workers: int,
        trials: int,
        faults: Faults | None = None,
        epochs: int | None = None,
    ) -> None:
        self._landscape = landscape
        self._faults = faults or Faults()
        self._clock = 0.0
        self._epochs = 0
        self._turn = 0
        budget = Budget(trials, epochs=epochs)
        self._queue = TrialQueue(study, budget, self.admit, lambda: self._clock)
        self._idle = list(range(workers))
        # time, turn (to order equals), worker, its trial
        self._due: list[tuple[float, int, int, int | None]] = []
        self._trainings: dict[int, Training] = {}

    @property
    def study(self) -> Study:
        """Makes the decisions."""
        return self._queue.study

    @study.setter
    def study(self, reopened: Study) -> None:
        self._queue.study = reopened

    def admit(self, config: dict[str, object]) -> Admission:
        """Admit every configuration, with its cost."""
        return Admission(self._landscape.cost(config))

    def run(self) -> list[Event]:
        """Run the whole search."""
        return list(self.events())

    def events(self) -> Iterator[Event]:
        """Run the search one event at a time."""
        self._hand_out()
        while self._due:
            self._clock, _, worker, number = heapq.heappop(self._due)
            if number is None:
                self._idle.append(worker)
            else:
                record = self.study.records[number]
                event = self._hear_of(worker, record)
                if record.state.ended:
                    del self._trainings[number]
                yield event
            self._hand_out()
        if not self._queue.why_stop():
            self.study.retire()

    def _hand_out(self) -> None:
        while self._idle and (record := self._queue.next()) is not None:
            self._begin_epoch(self._idle.pop(0), record)

    def _begin_epoch(self, worker: int, record: TrialRecord) -> None:
        self._plan(self._seconds(record), worker, record.number)

    def _seconds(self, record: TrialRecord) -> float:
        seconds = self._training(record).seconds
        # the epoch in which it diverges takes as long as the one before
        return seconds[min(record.epoch, len(seconds) - 1)]

    def _plan(self, seconds: float, worker: int, number: int | None) -> None:
        self._turn += 1
        heapq.heappush(self._due, (self._clock + seconds, self._turn, worker, number))

    def _training(self, record: TrialRecord) -> Training:
        if record.number not in self._trainings:
            self._trainings[record.number] = self._landscape.train(record.config, record.seed)
        return self._trainings[record.number]

    def _hear_of(self, worker: int, record: TrialRecord) -> Event:
        number = record.number
        epoch = record.epoch + 1
        training = self._training(record)
        seconds = self._seconds(record)
        self._epochs += 1
        if self._faults.strikes(
            self._faults.preemption, "preemption", number, epoch, record.losses
        ):
            self.study.lose(number, epochs=1, seconds=seconds)
            self._queue.put_back(number)
            self._plan(self._faults.away, worker, None)
            return Event(self._clock, self._epochs, number, 0, None)
        value = None
        if epoch > len(training.values) or self._faults.strikes(
            self._faults.failure, "failure", number, epoch
        ):
            self.study.fail(number, "diverged: simulated", epochs=1, seconds=seconds)
        else:
            value = training.values[epoch - 1]
            spent = record.seconds + seconds
            self.study.report(number, epoch, value, spent, f"epoch_{epoch:04d}.pt")
        if self._queue.goes_on(record):
            self._begin_epoch(worker, record)
        else:
            self._queue.out.discard(number)
            self._idle.append(worker)
        return Event(self._clock, self._epochs, number, 0 if value is None else epoch, value)
