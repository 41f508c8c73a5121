"""Progress of reading images, for display: ``with watched_by(observer): load(config)``."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Observer = Callable[[str, int, int], None]
"""Called with the activity, e.g. ``decoding``, the number of images done, and the total."""
T = TypeVar("T")
# process-wide: images may be read in a different thread than the one that displays progress
_observers: list[Observer] = []


@contextlib.contextmanager
def watched_by(observer: Observer) -> Iterator[None]:
    """Notify ``observer`` of images read in this process within the block."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def counted(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield the items, notifying observers of each."""
    for done, item in enumerate(items, 1):
        for observer in _observers:
            observer(what, done, total)
        yield item
