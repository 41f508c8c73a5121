"""What becomes of a trial whose worker is gone, by why it is: it continues, or is given up; and how
many may run at once.
"""

from collections.abc import Callable

from hopsearch.orchestration.failures.loss_causes import Cause, Death

# workers lost in a row without a new epoch before a trial is given up: something in it kills them
_CRASHES = 3
# the same of machines: a container that outgrows its memory takes the whole node with it
_MACHINES = 10
# times out of the machine's memory while no other trial ran, before a trial is taken not to fit
_ALONE = 2


class Losses:
    """Counts them.

    Args:
        say: tells the user something.

    Attributes:
        room: how many trials may run at once since memory ran short; None if it has not.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        # by trial: losses that count against it since its last new epoch
        self._since_epoch: dict[int, int] = {}
        self._machines: dict[int, int] = {}  # the same, of machines
        self.room: int | None = None

    def new_epoch(self, number: int) -> None:
        """A trial got on: what was before counts no longer."""
        self._since_epoch.pop(number, None)
        self._machines.pop(number, None)

    def verdict(self, number: int, death: Death, others: int) -> str:
        """Why the trial is given up, in words; empty if it continues.

        Args:
            number: the trial.
            death: why its worker is gone.
            others: trials that run beside it.
        """
        # not this one's fault alone: the monitor picks one of several
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
