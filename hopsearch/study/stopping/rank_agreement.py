"""Whether a rung ranks trials as the next one does: Kendall's τ over those that came to both, with
its standard error.

Two trials that stand the same way round at both rungs agree, and two that stand the other way round
disagree; equals do neither. τ is the share of pairs that agree less the share that disagree
(Kendall 1938, τ-a). So it is 0 at a rung at which all have the same value, which ranks nobody.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ENOUGH = 12
"""Trials that say whether a rung ranks; fewer say nothing yet."""


@dataclass(frozen=True)
class Tau:
    """A rung's agreement with the next one.

    Attributes:
        value: 1 where all stand the same way round, about 0 where one order says nothing of the
            other, −1 where all are swapped.
        trials: how many came to both rungs.
    """

    value: float = 0.0
    trials: int = 0

    @property
    def error(self) -> float:
        """Standard error: what it is where two orders have nothing to do with each other, and less
        the closer they are.
        """
        count = self.trials
        if count < 2:
            return 1.0
        unrelated = 2 * (2 * count + 5) / (9 * count * (count - 1))
        return float((unrelated * max(0.0, 1 - self.value**2)) ** 0.5)

    def __str__(self) -> str:
        return f"τ {self.value:.2f} ± {self.error:.2f}, {self.trials} trials"


class RankAgreement:
    """The trials that came to two rungs, added one by one; each is compared with the others
    once.
    """

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._below_N = np.zeros(0)
        self._above_N = np.zeros(0)
        self._agreed = 0.0  # pairs that agree less pairs that disagree

    def add(self, number: int, below: float, above: float) -> None:
        """A trial came to the upper rung.

        Args:
            number: the trial.
            below, above: its values at the two rungs.
        """
        self._agreed += self._agreement(below, above).sum()
        self._place[number] = len(self._below_N)
        self._below_N = np.append(self._below_N, below)
        self._above_N = np.append(self._above_N, above)

    def drop(self, number: int) -> None:
        """A trial has failed, and says nothing any more."""
        place = self._place.pop(number, None)
        if place is None:
            return
        self._agreed -= self._agreement(self._below_N[place], self._above_N[place]).sum()
        self._below_N, self._above_N = (
            np.delete(self._below_N, place),
            np.delete(self._above_N, place),
        )
        self._place = {other: at - (at > place) for other, at in self._place.items()}

    @property
    def tau(self) -> Tau:
        """What they say together."""
        count = len(self._below_N)
        pairs = count * (count - 1) / 2
        return Tau(float(self._agreed / pairs) if pairs else 0.0, count)

    def _agreement(self, below: float, above: float) -> npt.NDArray[np.float64]:
        return np.asarray(np.sign(self._below_N - below) * np.sign(self._above_N - above))
