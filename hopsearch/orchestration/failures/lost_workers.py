"""What happens to a trial whose worker was lost, by cause: it continues or is given up; and how
many trials may run at once.
"""

from collections.abc import Callable

from hopsearch.orchestration.failures.death_causes import Cause, Death

# workers lost in a row without a new epoch before a trial is given up: it probably causes the
# crashes
_CRASHES = 3
# the same for machines: a container that exceeds its memory takes down the whole node
_MACHINES = 10
# out-of-memory losses without another running trial before a trial counts as too large
_ALONE = 2


class Losses:
    """Counts lost workers.

    Args:
        say: prints a message to the user.

    Attributes:
        room: how many trials may run at once after memory ran short; None if it has not.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        # by trial: losses attributed to it since its last new epoch
        self._since_epoch: dict[int, int] = {}
        self._machines: dict[int, int] = {}  # the same, of machines
        self.room: int | None = None

    def new_epoch(self, number: int) -> None:
        """A trial made progress: earlier losses no longer count."""
        self._since_epoch.pop(number, None)
        self._machines.pop(number, None)

    def verdict(self, number: int, death: Death, others: int) -> str:
        """Why the trial is given up, in words; empty if it continues.

        Args:
            number: the trial.
            death: why its worker was lost.
            others: other running trials.
        """
        # not only this trial's fault: the monitor picks one of several
        if death.cause == Cause.MEMORY and others:
            self.room = others
            runs = "trial runs" if others == 1 else "trials run"
            self._say(
                f"out of memory ({death.detail}): from now on at most {others} {runs} at once"
            )
        if death.cause == Cause.LEFT or (death.cause == Cause.MEMORY and others):
            return ""
        if death.cause == Cause.MACHINE:
            gone = self._machines[number] = self._machines.get(number, 0) + 1
            words = (
                f"lost: its machine disappeared {_MACHINES} times in a row without an epoch, "
                f"perhaps for lack of memory"
            )
            return words if gone >= _MACHINES else ""
        count = self._since_epoch[number] = self._since_epoch.get(number, 0) + 1
        if death.cause == Cause.MEMORY:
            return (
                f"out_of_memory: it does not fit even when run alone: {death.detail}"
                if count >= _ALONE
                else ""
            )
        if count < _CRASHES:
            return ""
        return (
            f"lost: its worker died {_CRASHES} times in a row without finishing an epoch; the "
            f"last time {death.detail}"
        )
