"""A model's folder: ``model.safetensors`` and ``config.json``, and in an exported one a model card
and ``modeling.py``.
"""

import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from hopsearch.artifact import modeling
from hopsearch.core import paths
from hopsearch.core.atomic_writes import filled_whole
from hopsearch.core.errors import ModelError
from hopsearch.models import Mixer, ModelConfig, build, parse_model, to_timm

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
CODE = "modeling.py"
GRAPH = "model.onnx"
_INSIDE = ("", paths.WINNER, paths.MODEL)  # of a study's folder, of a training's


class Preparation(TypedDict):
    """``pretrained_cfg`` of a ``config.json``: the classes and how images are prepared, in timm's
    words.
    """

    num_classes: int
    input_size: list[int]
    fixed_input_size: bool
    mean: list[float]
    std: list[float]
    crop_pct: float
    interpolation: str
    first_conv: str
    classifier: str
    label_names: list[str]


class Training(TypedDict):
    """``hopsearch`` of a ``config.json``: what was trained, and whether the spectral norms are in
    the weights. Where a task of a user's own was trained there are ``task`` and ``trial`` alone.
    """

    model: dict[str, object]
    folded: bool
    trial: dict[str, Any]
    task: NotRequired[str]


class ModelFile(TypedDict):
    """The ``config.json`` of a model, see `config_of`."""

    architecture: str
    num_classes: int
    model_args: dict[str, object]
    pretrained_cfg: Preparation
    hopsearch: Training


def load_model(path: str | Path) -> Mixer:
    """A trained model, in evaluation mode.

    Args:
        path: an exported folder, or the folder of a study or of a training, for its winner or its
            model.

    Returns:
        The model; ``pretrained_cfg`` holds its class names and how images are prepared, as timm has
        it.

    Raises:
        ModelError: no model there, or a damaged one.
    """
    folder = find_model(Path(path))
    about = read_config(folder)
    if (folder / GRAPH).is_file() and not (folder / WEIGHTS).is_file():
        hint = (
            f"Export it with format=safetensors, or run {GRAPH} with onnxruntime or python -m "
            f"hopsearch.predict"
        )
        raise ModelError(str(folder), f"torch needs {WEIGHTS}, got an ONNX export", hint)
    section = about["hopsearch"]
    model = build(
        parse_model(section["trial"]["model"], f"{folder / CONFIG}: model"),
        section.get("folded", False),
    )
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        rule = (
            f"the weights must be readable and match {CONFIG}, got: {' '.join(str(error).split())}"
        )
        raise ModelError(str(folder / WEIGHTS), rule, "Export the model again") from error
    model.pretrained_cfg = about["pretrained_cfg"]
    return model.eval()


def read_config(folder: Path) -> ModelFile:
    """What ``config.json`` in a model's folder says.

    Raises:
        ModelError: not there, not readable, not hopsearch's, or of another task than images.
    """
    about = _read_any_config(folder)
    if task := about["hopsearch"].get("task"):
        rule = f"must describe a classifier of images, got a model of task {task}"
        hint = f"Build it as the task does, and load {WEIGHTS} with safetensors"
        if (folder / CODE).is_file():
            hint = f"Load it with {CODE} beside it, whose first lines say how"
        raise ModelError(str(folder / CONFIG), rule, hint)
    return about


def _read_any_config(folder: Path) -> ModelFile:
    file = folder / CONFIG
    try:
        about: ModelFile = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            str(file), f"must be readable JSON, got: {error}", "Export the model again"
        ) from error
    if not isinstance(about, dict) or "trial" not in about.get("hopsearch", {}):
        raise ModelError(
            str(file),
            "must describe a model written by hopsearch, got another one",
            "Choose an exported folder",
        )
    return about


def config_of(
    config: ModelConfig,
    classes: Sequence[str],
    trial: Mapping[str, object],
    folded: bool = True,
    crop_pct: float = 1.0,
) -> ModelFile:
    """The ``config.json`` of a model, for timm, for `load_model` and for ``modeling.py``.

    Args:
        config: the model's.
        classes: names, in the order of the logits.
        trial: the whole trial that trained it, as plain JSON.
        folded: whether the spectral norms are in the weights.
        crop_pct: share of an image's shorter side that the model is shown, as in its evaluation.
    """
    architecture, arguments = to_timm(config)
    folded = folded and architecture.startswith("imixer")
    return {
        "architecture": architecture,
        "num_classes": config.classes,
        "model_args": arguments | ({"folded": True} if folded else {}),
        "pretrained_cfg": {
            "num_classes": config.classes,
            "input_size": [config.channels, config.image_size, config.image_size],
            "fixed_input_size": True,
            "mean": [0.5] * config.channels,
            "std": [0.5] * config.channels,
            "crop_pct": crop_pct,
            "interpolation": "bicubic",
            "first_conv": "stem.proj",
            "classifier": "head",
            "label_names": list(classes),
        },
        "hopsearch": {"model": config.model_dump(), "folded": folded, "trial": dict(trial)},
    }


def write_folder(target: Path, model: Mixer, about: ModelFile, card: str) -> None:
    """Write an exported folder; each file is replaced whole or not at all.

    Args:
        target: made if it is not there; may hold an earlier export.
        model: its spectral norms already folded.
        about: see `config_of`.
        card: the model card.

    Raises:
        ModelError: the folder holds something else, or cannot be written.
    """
    require_free(target)
    try:
        with filled_whole(target) as scratch:
            write_weights(scratch / WEIGHTS, model.state_dict())
            write_config(scratch, about)
            (scratch / CARD).write_text(card, encoding="utf-8")
            shutil.copyfile(inspect.getfile(modeling), scratch / CODE)
    except OSError as error:
        raise ModelError(
            str(target),
            f"the folder must be writable, got: {error}",
            "Choose another one with to=<folder>",
        ) from error


def write_config(folder: Path, about: ModelFile) -> None:
    """Write ``config.json``; see `config_of`."""
    (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def write_weights(file: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state as safetensors, with the rights that any new file has: the library's own writer
    keeps others out.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    file.write_bytes(save(weights, metadata={"format": "pt"}))


def require_free(target: Path) -> None:
    """Refuse to write among files that are not an earlier export's.

    Raises:
        ModelError: the folder holds something else, or is a file.
    """
    if target.exists() and not target.is_dir():
        raise ModelError(
            str(target), "must be a folder, got a file", "Choose another one with to=<folder>"
        )
    if target.is_dir() and any(target.iterdir()):
        try:
            _read_any_config(target)
        except ModelError:
            rule = "the folder must be new, empty, or an earlier export, got other files"
            raise ModelError(str(target), rule, "Choose another one with to=<folder>") from None


def find_model(path: Path) -> Path:
    """The folder that holds the model: the given one, or that of a study's winner or of a
    training's model.

    Raises:
        ModelError: there is none.
    """
    for part in _INSIDE:
        if (path / part / CONFIG).is_file():
            return path / part
    raise ModelError(
        str(path),
        f"must contain a model ({CONFIG} and {WEIGHTS}), got none",
        "Export one: python -m hopsearch.export",
    )
