"""The end of a search: its trials that are not over are open from then on, whatever has ended
it.
"""

import math
import time

from hopsearch.orchestration.dispatcher import Dispatcher

_MOMENT = 1.0  # seconds: whoever interrupts a search may not wait long


def conclude(dispatcher: Dispatcher) -> None:
    """The search is over for now: its clock stops, and trials that a budget has kept from their end
    are open.
    """
    dispatcher.stop_clock()
    study = dispatcher.study
    dispatcher.note_seconds()
    left = _leave_open(dispatcher, f"stopped: {dispatcher.stopped}") if dispatcher.stopped else 0
    if left:
        raised = dispatcher.budget.remedy(study, dispatcher.seconds) or "the budget"
        dispatcher.say(f"open trials: {left}; raise {raised} in the same command to continue them")


def leave(dispatcher: Dispatcher, why: str) -> None:
    """The search ends at once: its trials are open, as many as a moment is enough for. Those that
    are not continue like them.

    Args:
        dispatcher: the desk.
        why: what ends it, in words.
    """
    dispatcher.stop_clock()
    _leave_open(dispatcher, why, until=time.monotonic() + _MOMENT)


def _leave_open(dispatcher: Dispatcher, why: str, until: float = math.inf) -> int:
    count = 0
    for record in dispatcher.study.conclude(why):
        count += 1
        for observer in dispatcher.observers:
            observer.end(record)
        if time.monotonic() > until:
            break
    return count
