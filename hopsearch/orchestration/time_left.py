"""Estimates the remaining training of a search by simulating its own rule from the current state,
with random values.

A mean over ended trials is of little use: if trials wait for each other, none ends during most of a
search.
"""

import heapq
import math
import statistics
from collections.abc import Callable
from random import Random

from hopsearch.study import StudyView, make_pruner
from hopsearch.study.record.trial import Decision, Failure
from hopsearch.study.stopping.decisions import in_order, take_in
from hopsearch.study.stopping.rank_agreement import ENOUGH, Tau
from hopsearch.study.stopping.rule import Pruner, Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence

# simulated continuations, whose median is used; fewer in a large search, where they vary less
_TIMES = 9
_TRIALS = 300  # trials simulated in total, for the same reason
# how much a trial's standing changes while its epochs triple, where 1 is from the worst to the best
_SWAPPING = 0.1


def forecast(view: StudyView, pruner: str, trials: int, slots: int) -> tuple[float, float]:
    """The remaining epochs of a search: over all trials, and as consecutive epochs of wall-clock
    time.

    The second exceeds the first divided by the number of slots if the last trials leave some idle.

    Args:
        view: the study.
        pruner: its rule, by name.
        trials: how many are requested.
        slots: how many run concurrently.
    """
    rule = make_pruner(pruner, view.identity.space.fidelity)
    size = view.identity.space.size
    fresh = max(0, min(trials, trials if size is None else size) - len(view.counted()))
    times = max(1, min(_TIMES, _TRIALS // (1 + fresh)))
    ends = [_Continuation(view, rule, fresh, slots, seed).run() for seed in range(times)]
    return statistics.median(epochs for epochs, _ in ends), statistics.median(
        steps for _, steps in ends
    )


class _Told(Evidence):
    """Evidence in which rank agreement is taken from real values, not from simulated ones."""

    def __init__(self, bracket: Callable[[int], int], real: Evidence) -> None:
        super().__init__(bracket)
        self._real = real

    def tau(self, lower: int, upper: int, witnesses: bool) -> Tau:
        """The study's own value, if it has enough trials."""
        known = self._real.tau(lower, upper, witnesses)
        return known if known.trials >= ENOUGH else super().tau(lower, upper, witnesses)


class _Continuation:
    """One simulated continuation. A trial is described by its standing: the share of all trials
    that it beats.
    """

    def __init__(self, view: StudyView, rule: Pruner, fresh: int, slots: int, seed: int) -> None:
        self._rule = rule
        self._free = slots
        self._random = Random(seed)
        self._last = view.identity.space.fidelity.max_epochs
        first = max(view.records, default=-1) + 1
        self._fresh = list(reversed(range(first, first + fresh)))
        self._epoch = {record.number: record.epoch for record in view.counted()}
        self._sent_on = {record.number for record in view.counted() if record.sent_on(self._last)}
        self._standing: dict[int, float] = {}
        self._evidence = self._seen(view)
        self._epochs = 0
        self._clock = 0
        self._turn = 0
        # time, turn (to order equals), trial, its epoch then
        self._due: list[tuple[int, int, int, int]] = []
        for record in view.counted():
            if not record.state.ended and not record.waits:
                self._train(record.number)

    def run(self) -> tuple[int, int]:
        """The remaining epochs, in total and consecutively."""
        while True:
            while self._free > 0 and (number := self._next()) is not None:
                self._train(number)
            if not self._due:
                return self._epochs, self._clock
            self._clock, _, number, epoch = heapq.heappop(self._due)
            self._free += 1
            if epoch < self._last:
                self._decide(number, epoch)

    def _next(self) -> int | None:
        # As in `Study.next`, except for the end of a budget, which may continue one trial.
        chosen = self._rule.promotion(self._evidence, over=False)
        if chosen is None and self._fresh:
            return self._fresh.pop()
        if chosen is None:
            settled = all(epoch == self._last for *_, epoch in self._due)
            chosen = self._rule.promotion(self._evidence, over=settled)
        if chosen is None:
            return None
        self._evidence.leave(*chosen)
        return chosen[0]

    def _train(self, number: int) -> None:
        epoch = self._epoch.get(number, 0)
        to = next(
            (
                later
                for later in range(epoch + 1, self._last)
                if self._rule.decides_at(later, number)
            ),
            self._last,
        )
        self._free -= 1
        self._epochs += to - epoch
        self._turn += 1
        heapq.heappush(self._due, (self._clock + to - epoch, self._turn, number, to))

    def _decide(self, number: int, epoch: int) -> None:
        standing = self._standing.get(number)
        if standing is None:
            standing = self._random.random()
        else:
            standing += self._random.gauss(
                0, _SWAPPING * math.log(epoch / self._epoch[number], 3) ** 0.5
            )
        self._standing[number] = standing
        self._epoch[number] = epoch
        came = Arrival(number, epoch, (standing,), 0)
        verdict = (
            Verdict.GO if number in self._sent_on else self._rule.verdict(came, self._evidence)
        )
        self._evidence.add(
            came, verdict == Verdict.PAUSE, verdict == Verdict.STOP, verdict == Verdict.WITNESS
        )
        if verdict in (Verdict.GO, Verdict.WITNESS):
            self._train(number)

    def _seen(self, view: StudyView) -> Evidence:
        """The study's evidence, with each trial's values replaced by its standing, preserving its
        rank at each rung.
        """
        real = Evidence(self._rule.bracket)
        told = _Told(self._rule.bracket, real)
        made = in_order(view.records.values())
        for record, one in made:
            take_in(real, record, one, view.objectives)
        standings: dict[tuple[int, int], float] = {}
        for epoch, bracket in sorted(
            {
                (one.epoch, self._rule.bracket(r.number))
                for r, one in made
                if isinstance(one, Decision)
            }
        ):
            numbers = real.rung(epoch, bracket).standing()
            # Trials at a higher rung were good at a lower one: they share the standings that they
            # had there.
            known = sorted(
                (self._standing[number] for number in numbers if number in self._standing),
                reverse=True,
            )
            whole = len(known) == len(numbers)
            shared = (
                known
                if whole
                else [1 - (place + 0.5) / len(numbers) for place in range(len(numbers))]
            )
            for number, standing in zip(numbers, shared, strict=True):
                self._standing[number] = standings[number, epoch] = standing
        for record, one in made:
            if isinstance(one, Decision):
                came = Arrival(
                    record.number, one.epoch, (standings.get((record.number, one.epoch), 0.0),), 0
                )  # one that has failed since has no standing
                told.add(came, one.pause, one.stop, one.witness)
            elif isinstance(one, Failure):
                told.drop(record.number, record.decisions)
            else:
                told.leave(record.number, one.epoch, one.retired)
        return told
