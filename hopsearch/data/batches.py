"""Which images make up each batch, as index tensors.

Shapes: B images of a batch.
"""

from collections.abc import Iterator

import torch


def epoch_batches(
    n: int,
    batch_size: int,
    generator: torch.Generator,
    drop_last: bool = False,
    device: torch.device | None = None,
) -> Iterator[torch.Tensor]:
    """Every image once, in a fresh random order.

    Args:
        n: images in the set.
        batch_size: images per batch; a smaller set gives one batch of ``n``, even with
            ``drop_last``.
        generator: determines the order.
        drop_last: skip a last batch that is not full.
        device: device of the indices, see `ImageSet.index_device`; None: on the generator's device.

    Yields:
        int64 indices of shape (B,).
    """
    order_N = torch.randperm(n, generator=generator, device=generator.device)
    order_N = order_N if device is None else order_N.to(device)
    end = n - n % batch_size if drop_last and n >= batch_size else n
    for start in range(0, end, batch_size):
        yield order_N[start : min(start + batch_size, end)]


def ordered_batches(n: int, batch_size: int) -> Iterator[slice]:
    """Every image once, in order, for evaluation: as slices, so that indexing a tensor copies
    nothing.
    """
    for start in range(0, n, batch_size):
        yield slice(start, min(start + batch_size, n))
