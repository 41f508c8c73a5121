"""A model as an ONNX graph, checked against the model it was made from."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from hopsearch.artifact import modeling
from hopsearch.artifact.folder import ModelFile
from hopsearch.core.errors import ModelError
from hopsearch.models import Mixer

TOLERANCE = 1e-4
"""Largest difference of a logit between ONNX Runtime and torch."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Raise where the packages are not installed.

    Raises:
        ModelError: which ones, and how to get them.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            "format=onnx",
            f"{', '.join(missing)} must be installed",
            'Run pip install "hopsearch[onnx]"',
        )


def write_onnx(model: Mixer, file: Path, about: ModelFile | None = None) -> float:
    """Write a folded model as one ONNX file with any batch size: input ``images`` (B, C, H, W),
    output ``logits`` (B, K).

    Args:
        model: the model.
        file: where to.
        about: its ``config.json``: class names and how images are prepared become the file's
            metadata, see `metadata`.

    Returns:
        The largest difference of a logit between ONNX Runtime and ``model``, on random images.

    Raises:
        ModelError: the ONNX packages are not installed.
        RuntimeError: the difference is larger than `TOLERANCE`.
    """
    require_onnx()
    config = model.config
    plain = modeling.build(**config.model_dump()).eval()
    plain.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(0)
    images_BCHW = (
        torch.rand(4, config.channels, config.image_size, config.image_size, generator=generator)
        * 2
        - 1
    )
    # torch tells of its exporter's steps
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            plain,
            (images_BCHW,),
            str(file),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    _tidy(file, {} if about is None else metadata(about))
    # another batch size than that of the export
    difference = _difference(model, file, images_BCHW[:3])
    if difference > TOLERANCE:
        raise RuntimeError(
            f"{file}: logits must be the model's to {TOLERANCE:g}, got a difference of "
            f"{difference:g}"
        )
    return difference


def metadata(about: ModelFile) -> dict[str, str]:
    """What an ONNX file says of itself, as JSON texts: ``classes`` in the order of the logits, and
    ``preprocessing``.
    """
    prepared = about["pretrained_cfg"]
    channels, size, _ = prepared["input_size"]
    words = {
        "input": (
            f"images: float32, (batch, {channels}, {size}, {size}), "
            f"{'RGB' if channels == 3 else 'grey'}"
        ),
        "resize_shorter_side": int(size / prepared["crop_pct"]),
        "center_crop": size,
        "scale": "pixel / 255, then (x - mean) / std",
        **{
            name: prepared[name]
            for name in ("input_size", "crop_pct", "interpolation", "mean", "std")
        },
    }
    return {"classes": json.dumps(prepared["label_names"]), "preprocessing": json.dumps(words)}


def _tidy(file: Path, values: Mapping[str, str]) -> None:
    """Put ``values`` into the file's metadata, and take out which lines of which files on this
    machine made each node.
    """
    import onnx

    graph = onnx.load(str(file))
    for node in (
        *graph.graph.node,
        *(node for function in graph.functions for node in function.node),
    ):
        kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.helper.set_model_props(graph, dict(values))
    onnx.save(graph, str(file))


@torch.inference_mode()
def _difference(model: Mixer, file: Path, images_BCHW: torch.Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found_BK,) = session.run(["logits"], {"images": images_BCHW.numpy()})
    return float(np.abs(found_BK - model.eval()(images_BCHW).numpy()).max())
