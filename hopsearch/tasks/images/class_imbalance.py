"""Class imbalance in training: per-class recall, confusions, and class weights of the loss.

Shapes: N = images, K = classes.
"""

from collections.abc import Sequence

import torch

from hopsearch.tasks.images.evaluation import Evaluation

RECALL = "recall/"
"""What the name of a class's recall begins with."""
MOST_CLASSES = 100
"""Most classes for which an epoch reports the recall of each, as ``recall/<class>``; above, only
their mean and the worst.
"""


def recall_names(classes: Sequence[str]) -> list[str]:
    """The names under which an epoch reports the recall of each class; empty if there are too
    many.
    """
    return [f"{RECALL}{name}" for name in classes] if len(classes) <= MOST_CLASSES else []


def recall_row(validation: Evaluation, classes: Sequence[str]) -> dict[str, float]:
    """Per-class metrics of an epoch: ``val_balanced_acc``, ``val_worst_recall``, and the recall of
    each.
    """
    known = [recall for recall in validation.recalls if recall is not None]
    row = {"val_balanced_acc": validation.balanced_accuracy, "val_worst_recall": min(known)}
    named = zip(recall_names(classes), validation.recalls, strict=False)
    return row | {name: recall for name, recall in named if recall is not None}


def results_of(part: str, found: Evaluation) -> dict[str, float]:
    """An evaluation as plain JSON: ``<part>_acc``, ``<part>_balanced_acc``, ``<part>_loss``."""
    names = ("acc", "balanced_acc", "loss")
    return dict(
        zip(
            (f"{part}_{name}" for name in names),
            (found.accuracy, found.balanced_accuracy, found.loss),
            strict=True,
        )
    )


def confusions(labels_N: torch.Tensor, said_N: torch.Tensor, most: int = 5000) -> list[list[int]]:
    """Confusions as (true class, predicted class, number of images), the most frequent first, up to
    a limit.
    """
    wrong_M = said_N != labels_N
    pairs, counts = torch.unique(
        torch.stack([labels_N[wrong_M], said_N[wrong_M]], 1), dim=0, return_counts=True
    )
    found = [[*pair, count] for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)]
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))[:most]


def class_weights(labels_N: torch.Tensor, classes: int, rule: str) -> torch.Tensor | None:
    """Class weights of the loss; None if all are equal.

    ``balanced``: N / (K · images of the class), so that classes contribute equally to the sum over
    an epoch, and the mean weight of an image is 1: equivalent to oversampling small classes to
    equal sizes.
    """
    if rule == "none":
        return None
    images_K = torch.bincount(labels_N, minlength=classes)
    return (len(labels_N) / (classes * images_K.clamp(min=1))).float()
