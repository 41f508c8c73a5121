"""How far the reading of images is, for whoever shows it: ``with watched_by(observer):
load(config)``.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Observer = Callable[[str, int, int], None]
"""Called with what is done, e.g. ``decoding``, how many images are done, and how many there are."""
T = TypeVar("T")
# of the process: images may be read in another thread than the one that shows it
_observers: list[Observer] = []


@contextlib.contextmanager
def watched_by(observer: Observer) -> Iterator[None]:
    """Tell ``observer`` of images that are read meanwhile in this process."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def counted(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """The items, and the observers are told of each."""
    for done, item in enumerate(items, 1):
        for observer in _observers:
            observer(what, done, total)
        yield item
