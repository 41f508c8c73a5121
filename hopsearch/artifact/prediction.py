"""Classes of image files by a trained model, prepared exactly as in training."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hopsearch.data import Augment
from hopsearch.data.view import UNREADABLE, Pixels, to_pixels
from hopsearch.errors import DataError
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


def predict(model: Mixer, files: Iterable[str | Path]) -> Iterator[Prediction]:
    """Classify image files of any size and mode, a batch at a time.

    Args:
        model: from `load_model`; put into evaluation mode.
        files: paths.

    Raises:
        DataError: a file is missing or not an image.
    """
    model.eval()
    config = model.config
    about: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    names = about.get("label_names") or [str(label) for label in range(config.classes)]
    device = next(model.parameters()).device
    waiting = (Path(file) for file in files)
    while batch := list(islice(waiting, _BATCH)):
        pixels_BCHW = np.stack([_read(file, config.image_size, config.channels) for file in batch])
        with torch.inference_mode():
            logits_BK = model(Augment.normalize(torch.from_numpy(pixels_BCHW).to(device)))
        for file, probability_K in zip(batch, logits_BK.float().softmax(1).cpu(), strict=True):
            order = probability_K.argsort(descending=True, stable=True).tolist()
            yield Prediction(file, {names[label]: float(probability_K[label]) for label in order})


def _read(file: Path, size: int, channels: int) -> Pixels:
    try:
        with Image.open(file) as image:
            return to_pixels(image, size, channels)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(str(file), f"must be a readable image, got: {reason}", "Leave it out, or check the path") from error
