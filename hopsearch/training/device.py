"""Where a trial is trained."""

import torch

from hopsearch.core.errors import ResourceError


def pick_device(wanted: str, place: str = "train.device") -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ResourceError: cuda is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            place,
            "a GPU is required, got none",
            "Set train.device=auto, or assign trials a GPU: trial.gpus=1",
        )
    return torch.device(
        "cuda" if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()) else "cpu"
    )
