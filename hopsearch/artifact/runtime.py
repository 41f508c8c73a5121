"""A model to predict with: the torch model of a folder, or an ONNX file run by ONNX Runtime."""

import importlib.util
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from hopsearch.artifact.folder import GRAPH, WEIGHTS, find_model, load_model, read_config
from hopsearch.core.errors import ModelError
from hopsearch.data import Augment
from hopsearch.data.files.preprocessing import Pixels
from hopsearch.models import Mixer

Logits = npt.NDArray[np.float32]


class Classifier(Protocol):
    """What `predict` needs of a model."""

    size: int
    channels: int
    crop_pct: float
    names: list[str]
    """Class names, in the order of the logits."""

    def logits(self, pixels_BCHW: Pixels) -> Logits:
        """Logits (B, K) of images."""
        ...


class TorchClassifier:
    """A `Mixer` as a `Classifier`; it is put into evaluation mode."""

    def __init__(self, model: Mixer) -> None:
        self._model = model.eval()
        about: dict[str, Any] = getattr(model, "pretrained_cfg", {})
        self.size = model.config.image_size
        self.channels = model.config.channels
        self.crop_pct = float(about.get("crop_pct", 1.0))
        self.names = about.get("label_names") or [
            str(label) for label in range(model.config.classes)
        ]
        self._device = next(model.parameters()).device

    def logits(self, pixels_BCHW: Pixels) -> Logits:
        """Logits (B, K) of images."""
        with torch.inference_mode():
            logits_BK: Logits = (
                self._model(Augment.normalize(torch.from_numpy(pixels_BCHW).to(self._device)))
                .float()
                .cpu()
                .numpy()
            )
        return logits_BK


class OnnxClassifier:
    """An exported ONNX file as a `Classifier`.

    Args:
        file: the ``.onnx`` file; class names and size are in it, or in a ``config.json`` beside it.

    Raises:
        ModelError: ONNX Runtime is not installed, or the file is damaged or not hopsearch's.
    """

    def __init__(self, file: Path) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            rule = "this model is an ONNX file, which needs onnxruntime, and it is not installed"
            hint = (
                'Run pip install "hopsearch[onnx]", or export the model again with '
                "format=safetensors"
            )
            raise ModelError(str(file), rule, hint)
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(
                str(file), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common root
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                str(file), f"must be a readable ONNX file, got: {reason}", "Export the model again"
            ) from error
        about = self._about(file)
        self.channels, self.size, _ = about["input_size"]
        self.crop_pct = float(about["crop_pct"])
        self.names = list(about["label_names"])

    def _about(self, file: Path) -> dict[str, Any]:
        stored = self._session.get_modelmeta().custom_metadata_map
        if "classes" in stored and "preprocessing" in stored:
            prepared = json.loads(stored["preprocessing"])
            return {**prepared, "label_names": json.loads(stored["classes"])}
        # exported before the file itself held them
        return {**read_config(file.parent)["pretrained_cfg"]}

    def logits(self, pixels_BCHW: Pixels) -> Logits:
        """Logits (B, K) of images."""
        images_BCHW = pixels_BCHW.astype(np.float32) / 127.5 - 1
        (logits_BK,) = self._session.run(["logits"], {"images": images_BCHW})
        found: Logits = logits_BK
        return found


def load_classifier(path: str | Path) -> Classifier:
    """The model in a folder (an exported one, a study's or a training's), or of an ``.onnx`` file.

    Raises:
        ModelError: no model there, a damaged one, or one that needs a package that is not
            installed.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".onnx":
        return OnnxClassifier(path)
    folder = find_model(path)
    if (folder / GRAPH).is_file() and not (folder / WEIGHTS).is_file():
        return OnnxClassifier(folder / GRAPH)
    return TorchClassifier(load_model(folder))
