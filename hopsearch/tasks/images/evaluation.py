"""The loss of a classifier, and one pass of evaluation, in plain torch.

Shapes: B = batch, K = classes, N = images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from hopsearch.data import ImageSet
from hopsearch.training.process_ranks import Ranks


@dataclass(frozen=True)
class Evaluation:
    """Of a whole split: mean cross-entropy, and how many images of each class are recognised.

    Attributes:
        loss: in nats.
        hits: images recognised, by true class.
        images: images there are, by class.
        said_N: the class said of each image of this rank's share, in the split's order.
    """

    loss: float
    hits: tuple[int, ...]
    images: tuple[int, ...]
    said_N: torch.Tensor

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy, 0 to 1."""
        return sum(self.hits) / sum(self.images)

    @property
    def recalls(self) -> list[float | None]:
        """Accuracy within each class; None of a class that the split does not have."""
        return [
            hit / count if count else None
            for hit, count in zip(self.hits, self.images, strict=True)
        ]

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the classes' recalls: always saying the same class gives one over the number of
        classes.
        """
        known = [recall for recall in self.recalls if recall is not None]
        return sum(known) / len(known)


def soft_cross_entropy(
    logits_BK: torch.Tensor, targets_BK: torch.Tensor, weights_K: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross-entropy against class probabilities, in float32 whatever the logits are.

    With weights, each class's share of a target counts as much as its weight; the mean is over
    images, not over weights, so that a batch's parts add up to the batch.
    """
    return F.cross_entropy(logits_BK.float(), targets_BK, weight=weights_K)


@torch.inference_mode()
def evaluate(
    net: nn.Module,
    data: ImageSet,
    normalize: Callable[[torch.Tensor], torch.Tensor],
    batch_size: int,
    classes: int,
    ranks: Ranks,
) -> Evaluation:
    """Loss and hits of ``net`` (put into evaluation mode and back) over all of ``data``, each image
    once over all ranks.
    """
    was_training = net.training
    net.eval()
    device = data.device
    part = ranks.share(len(data))
    loss = torch.zeros((), device=device, dtype=torch.float64)
    said = [torch.empty(0, device=device, dtype=torch.long)]
    for start in range(part.start, part.stop, batch_size):
        images_BCHW, labels_B = data.batch(slice(start, min(start + batch_size, part.stop)))
        logits_BK = net(normalize(images_BCHW)).float()
        loss += F.cross_entropy(logits_BK, labels_B, reduction="sum")
        said.append(logits_BK.argmax(1))
    net.train(was_training)
    said_N = torch.cat(said)
    labels_N = data.labels_N[part]
    # Whole numbers: their sums over ranks are exact, and no order of adding matters.
    counts_2K = torch.zeros(2, classes, device=device, dtype=torch.long)
    counts_2K[0].index_add_(0, labels_N, (said_N == labels_N).long())
    counts_2K[1].index_add_(0, labels_N, torch.ones_like(labels_N))
    hits, images = ranks.sum(counts_2K).tolist()
    return Evaluation(float(ranks.sum(loss)) / len(data), tuple(hits), tuple(images), said_N)
