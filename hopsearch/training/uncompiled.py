"""torch without its compiler: a second of imports that nothing here uses unless a model is
compiled.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator
from functools import cache
from types import FunctionType
from typing import Any

from torch._compile import _disable_dynamo

_KNOWN = "__dynamo_disable"
"""Attribute in which torch keeps what is called instead of a function while the compiler traces
(seen at 2.11 to 2.15).
"""


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Let functions that torch keeps out of what it compiles run without importing the compiler.

    The first call of each imports ``torch._dynamo``, to have it wrapped: shapes on the device
    ``meta`` are worked out by hundreds of them. While this is entered they are called unchanged.
    Does nothing if the compiler is there already.
    """
    if "torch._dynamo" in sys.modules:
        yield
        return
    left = [function for function in _kept_out() if not hasattr(function, _KNOWN)]
    for function in left:
        setattr(function, _KNOWN, function)
    try:
        yield
    finally:
        for function in left:
            delattr(function, _KNOWN)


@cache
def _kept_out() -> list[Any]:
    code = _disable_dynamo(lambda: None).__code__
    if "fn" not in code.co_freevars:
        return []  # another torch; it only takes longer
    cell = code.co_freevars.index("fn")
    wrappers = [
        each for each in gc.get_objects() if type(each) is FunctionType and each.__code__ is code
    ]
    return [each.__closure__[cell].cell_contents for each in wrappers if each.__closure__]
