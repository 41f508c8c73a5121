"""The parts of a training loop: the loss, its check, one pass of evaluation, in plain torch.

Shapes: B = batch, K = classes.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from hopsearch.data import ImageSet
from hopsearch.errors import Diverged, OutOfMemory
from hopsearch.training.ranks import Ranks


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats) and top-1 accuracy (0 to 1) over a whole split."""

    loss: float
    accuracy: float


@contextlib.contextmanager
def failures(place: str) -> Iterator[None]:
    """Tell out-of-memory from other errors: torch reports it in several ways.

    Raises:
        OutOfMemory: the body ran out of device or host memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(error):
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OutOfMemory(
                place, f"the configuration must fit the memory, got: {text}", "Set constraint.max_memory"
            ) from error
        raise


def soft_cross_entropy(logits_BK: torch.Tensor, targets_BK: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy against class probabilities, in float32 whatever the logits are."""
    return F.cross_entropy(logits_BK.float(), targets_BK)


def require_finite(loss: torch.Tensor, step: int) -> None:
    """Wait for the device and look at a loss.

    Raises:
        Diverged: it is not finite.
    """
    value = float(loss.detach())
    if value != value or value in (float("inf"), float("-inf")):
        raise Diverged(f"step {step} of the epoch", f"the training loss must be finite, got {value}", "Lower optim.lr")


@torch.inference_mode()
def evaluate(
    net: nn.Module, data: ImageSet, normalize: Callable[[torch.Tensor], torch.Tensor], batch_size: int, ranks: Ranks
) -> Evaluation:
    """Loss and accuracy of ``net`` (put into evaluation mode and back) over all of ``data``, each image once over all ranks."""
    was_training = net.training
    net.eval()
    device, part = data.images_NCHW.device, ranks.share(len(data))
    sums = torch.zeros(2, device=device, dtype=torch.float64)  # of the loss, of the hits
    for start in range(part.start, part.stop, batch_size):
        batch = slice(start, min(start + batch_size, part.stop))
        labels_B = data.labels_N[batch]
        logits_BK = net(normalize(data.images_NCHW[batch])).float()
        sums[0] += F.cross_entropy(logits_BK, labels_B, reduction="sum")
        sums[1] += (logits_BK.argmax(1) == labels_B).sum()
    net.train(was_training)
    loss, hits = ranks.sum(sums).tolist()
    return Evaluation(loss / len(data), hits / len(data))
