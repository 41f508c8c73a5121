"""The parts of a training loop that are the same whatever is trained: its failures, and the check
of its loss.
"""

import contextlib
from collections.abc import Iterator

import torch

from hopsearch.core.errors import Diverged, OutOfMemory


@contextlib.contextmanager
def failures(place: str) -> Iterator[None]:
    """Tell out-of-memory from other errors: torch reports it in several ways.

    Raises:
        OutOfMemory: the body ran out of device or host memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(
            error
        ):
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OutOfMemory(
                place,
                f"the configuration must fit into memory, got: {text}",
                "Set constraint.max_memory",
            ) from error
        raise


def require_finite(loss: torch.Tensor, step: int) -> None:
    """Wait for the device and look at a loss.

    Raises:
        Diverged: it is not finite.
    """
    value = float(loss.detach())
    if value != value or value in (float("inf"), float("-inf")):
        raise Diverged(
            f"step {step} of the epoch",
            f"the training loss must be finite, got {value}",
            "Lower optim.lr",
        )
