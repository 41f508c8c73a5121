"""One epoch of training and one pass of evaluation, in plain torch.

Shapes: B = batch, C = channels, H = W = pixels, K = classes, N = images of a set.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from hopsearch.data import Augment, ImageSet, epoch_batches
from hopsearch.errors import Diverged, OutOfMemory

# Reading the loss waits for the device: free on a CPU, so look at every step; on a GPU look seldom.
_CHECK_EVERY = {"cpu": 1, "cuda": 50}


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


def train_epoch(
    net: nn.Module,
    data: ImageSet,
    augment: Augment,
    batch_size: int,
    generator: torch.Generator,
    update: Callable[[torch.Tensor, int], None],
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> float:
    """Train one epoch over ``data`` in a fresh random order.

    Args:
        net: the network, already in training mode.
        data: training split, on the device of ``generator``.
        augment: from uint8 images and labels to a float batch and soft targets.
        batch_size: images a step; the last step may have fewer.
        generator: order and augmentation.
        update: called with the loss and the step of this epoch; goes backward and steps the optimizer.
        loss_of: from the batch and the soft targets to the loss.

    Returns:
        The mean loss over the epoch's images.

    Raises:
        Diverged: the loss is not finite.
    """
    device = data.images_NCHW.device
    check_every = _CHECK_EVERY.get(device.type, 50)
    total = torch.zeros((), device=device)
    for step, index_B in enumerate(epoch_batches(len(data), batch_size, generator)):
        x_BCHW, targets_BK = augment(data.images_NCHW[index_B], data.labels_N[index_B], generator)
        loss = loss_of(x_BCHW, targets_BK)
        if step % check_every == 0:
            _require_finite(loss, step)
        update(loss, step)
        total += loss.detach() * len(index_B)
    _require_finite(total, step)
    return float(total) / len(data)


def _require_finite(loss: torch.Tensor, step: int) -> None:
    value = float(loss.detach())
    if value != value or value in (float("inf"), float("-inf")):
        raise Diverged(f"step {step} of the epoch", f"the training loss must be finite, got {value}", "Lower optim.lr")


@torch.inference_mode()
def evaluate(net: nn.Module, data: ImageSet, normalize: Callable[[torch.Tensor], torch.Tensor], batch_size: int) -> Evaluation:
    """Loss and accuracy of ``net`` (put into evaluation mode and back) over all of ``data``, in order, each image once."""
    was_training = net.training
    net.eval()
    device = data.images_NCHW.device
    loss, correct = torch.zeros((), device=device, dtype=torch.float64), torch.zeros((), device=device, dtype=torch.int64)
    for start in range(0, len(data), batch_size):
        labels_B = data.labels_N[start : start + batch_size]
        logits_BK = net(normalize(data.images_NCHW[start : start + batch_size])).float()
        loss += F.cross_entropy(logits_BK, labels_B, reduction="sum")
        correct += (logits_BK.argmax(1) == labels_B).sum()
    net.train(was_training)
    return Evaluation(float(loss) / len(data), int(correct) / len(data))
