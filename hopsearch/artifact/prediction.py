"""Classes of image files by a trained model, prepared exactly as in training."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hopsearch.artifact.runtime import Classifier, TorchClassifier
from hopsearch.core.errors import DataError
from hopsearch.data.files.preprocessing import UNREADABLE, Pixels, pil_quiet, reason_of, to_pixels
from hopsearch.models import Mixer

_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        file: the image.
        classes: probability of each class by name, the likeliest first.
    """

    file: Path
    classes: dict[str, float]

    @property
    def best(self) -> str:
        """The likeliest class."""
        return next(iter(self.classes))


def predict(
    model: Mixer | Classifier,
    files: Iterable[str | Path],
    unreadable: Callable[[Path, str], None] | None = None,
) -> Iterator[Prediction]:
    """Classify image files of any size and mode, a batch at a time.

    Args:
        model: from `load_model` or `load_classifier`; put into evaluation mode.
        files: paths.
        unreadable: called with a file that is no readable image and the reason; the others are
            classified. None: raise.

    Raises:
        DataError: a file is missing or not an image, and ``unreadable`` is not given.
    """
    classifier = TorchClassifier(model) if isinstance(model, Mixer) else model
    readable = _pixels(files, classifier, unreadable)
    while batch := list(islice(readable, _BATCH)):
        logits_BK = torch.from_numpy(classifier.logits(np.stack([pixels for _, pixels in batch])))
        for (file, _), probability_K in zip(batch, logits_BK.softmax(1), strict=True):
            order = probability_K.argsort(descending=True, stable=True).tolist()
            yield Prediction(
                file, {classifier.names[label]: float(probability_K[label]) for label in order}
            )


def _pixels(
    files: Iterable[str | Path], model: Classifier, unreadable: Callable[[Path, str], None] | None
) -> Iterator[tuple[Path, Pixels]]:
    for file in map(Path, files):
        try:
            with pil_quiet(), Image.open(file) as image:
                pixels = to_pixels(image, model.size, model.channels, model.crop_pct)
        except UNREADABLE as error:
            reason = reason_of(error, file)
            if unreadable is None:
                rule = f"must be a readable image, got: {reason}"
                raise DataError(str(file), rule, "Leave it out, or check the path") from error
            unreadable(file, reason)
        else:
            yield file, pixels
