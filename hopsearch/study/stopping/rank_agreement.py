"""Agreement of a rung with the next one: Kendall's τ over the trials that reached both, with its
standard error.

A pair of trials is concordant if it has the same order at both rungs, and discordant if reversed;
ties are neither. τ is the share of concordant pairs minus the share of discordant ones (Kendall
1938, τ-a). So it is 0 at a rung at which all have the same value.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ENOUGH = 12
"""Minimum number of trials to judge a rung."""


@dataclass(frozen=True)
class Tau:
    """A rung's agreement with the next one.

    Attributes:
        value: 1 if all pairs have the same order, about 0 if the orders are unrelated, −1 if all
            are reversed.
        trials: how many reached both rungs.
    """

    value: float = 0.0
    trials: int = 0

    @property
    def error(self) -> float:
        """Standard error: that of unrelated orders, and smaller the closer the agreement."""
        count = self.trials
        if count < 2:
            return 1.0
        unrelated = 2 * (2 * count + 5) / (9 * count * (count - 1))
        return float((unrelated * max(0.0, 1 - self.value**2)) ** 0.5)

    def __str__(self) -> str:
        return f"τ {self.value:.2f} ± {self.error:.2f}, {self.trials} trials"


class RankAgreement:
    """The trials that reached two rungs, added one by one; each pair is compared once."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._below_N = np.zeros(0)
        self._above_N = np.zeros(0)
        self._agreed = 0.0  # concordant minus discordant pairs

    def add(self, number: int, below: float, above: float) -> None:
        """Add a trial that reached the upper rung.

        Args:
            number: the trial.
            below, above: its values at the two rungs.
        """
        self._agreed += self._agreement(below, above).sum()
        self._place[number] = len(self._below_N)
        self._below_N = np.append(self._below_N, below)
        self._above_N = np.append(self._above_N, above)

    def drop(self, number: int) -> None:
        """Remove a trial that has failed."""
        place = self._place.pop(number, None)
        if place is None:
            return
        self._agreed -= self._agreement(self._below_N[place], self._above_N[place]).sum()
        self._below_N = np.delete(self._below_N, place)
        self._above_N = np.delete(self._above_N, place)
        self._place = {other: at - (at > place) for other, at in self._place.items()}

    @property
    def tau(self) -> Tau:
        """The agreement of all trials."""
        count = len(self._below_N)
        pairs = count * (count - 1) / 2
        return Tau(float(self._agreed / pairs) if pairs else 0.0, count)

    def _agreement(self, below: float, above: float) -> npt.NDArray[np.float64]:
        return np.asarray(np.sign(self._below_N - below) * np.sign(self._above_N - above))
