"""The end of a search, however it ended: unfinished trials are left open."""

import math
import time

from hopsearch.orchestration.dispatcher import Dispatcher

_MOMENT = 1.0  # seconds: the interrupting party may not wait long


def conclude(dispatcher: Dispatcher) -> None:
    """Close the search for now: stop its clock, and leave trials that a budget has interrupted
    open.
    """
    dispatcher.stop_clock()
    study = dispatcher.study
    dispatcher.note_seconds()
    left = (
        _leave_open(dispatcher, f"stopped: {dispatcher.queue.stopped}")
        if dispatcher.queue.stopped
        else 0
    )
    if left:
        raised = dispatcher.budget.remedy(study, dispatcher.seconds) or "the budget"
        dispatcher.say(f"open trials: {left}; raise {raised} in the same command to continue them")


def leave(dispatcher: Dispatcher, why: str) -> None:
    """Close the search immediately: leave as many trials open as possible in a moment. The others
    are resumed like these.

    Args:
        dispatcher: of the search.
        why: what ended it, in words.
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
