"""Avoids importing torch's compiler, which takes a second and is not used unless a model is
compiled.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator
from functools import cache
from types import FunctionType

from torch._compile import _disable_dynamo

_KNOWN = "__dynamo_disable"
"""Attribute in which torch stores the replacement of a function during compilation (in 2.11 to
2.15).
"""


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Let functions that torch excludes from compilation run without importing the compiler.

    The first call of each imports ``torch._dynamo`` to wrap it; shape inference on the device
    ``meta`` uses hundreds of them. Inside this context they are called unwrapped. Does nothing if
    the compiler is already imported.
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
def _kept_out() -> list[object]:
    code = _disable_dynamo(lambda: None).__code__
    if "fn" not in code.co_freevars:
        return []  # a different torch version; only slower
    cell = code.co_freevars.index("fn")
    wrappers = [
        each for each in gc.get_objects() if type(each) is FunctionType and each.__code__ is code
    ]
    return [each.__closure__[cell].cell_contents for each in wrappers if each.__closure__]
