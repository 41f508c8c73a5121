"""Pictures of a model in training, as PNG, for TensorBoard: token mixing, confusions, misclassified
images.

Shapes: S = tokens, T = the token MLP's width, h × w = the grid of patches, K = classes, M =
selected images.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from hopsearch.models import Mixer
from hopsearch.models.mlps import Mlp
from hopsearch.tasks.drawing import SIDE, Pixels, enlarged, png
from hopsearch.tasks.images.classifier_run import ImageTrialRun

_IMAGES = 2048  # most images of the validation split: a picture is not a measurement
# the first, middle and last block; most output tokens per side
_BLOCKS = 3
_TILES = 8
_MOST_CLASSES = 200  # most classes in a confusion matrix
_WRONG = 12


def draw(run: ImageTrialRun) -> dict[str, bytes]:
    """All pictures of the state of ``run``, by TensorBoard tag; some 5 to 60 kB in total.

    ``tokens/mixing``: W2 W1 of the token MLPs (for iMixer: without the iteration between the two).
    One panel each for the first, the middle and the last block; within it, one tile per output
    token, at its position in the grid of patches; within a tile, the weights of the input tokens,
    red positive, blue negative, on the same grid. ``validation/confusion``: rows are the true
    classes, each summing to one. ``validation/wrong``: the misclassified images with the highest
    confidence, with the true and the predicted class.
    """
    labels_M, logits_MK, index_M = _validation(run)
    pictures = {"tokens/mixing": png(token_mixing(run.evaluated))}
    classes = run.facts.classes
    if len(classes) <= _MOST_CLASSES:
        pictures["validation/confusion"] = png(confusion(labels_M, logits_MK.argmax(1), classes))
    wrong = _most_wrong(labels_M, logits_MK)
    if len(wrong):
        images = run.val_set.batch(index_M[wrong])[0].cpu().numpy()
        said = [
            f"{classes[labels_M[at]]}, not {classes[logits_MK[at].argmax()]}"
            for at in wrong.tolist()
        ]
        pictures["validation/wrong"] = png(contact_sheet(images, said))
    return pictures


@torch.no_grad()
def token_mixing(model: Mixer) -> Image.Image:
    """See ``tokens/mixing`` in `draw`."""
    depth = len(model.blocks)
    chosen = sorted({0, depth // 2, depth - 1})[:_BLOCKS]
    panels = []
    for index in chosen:
        first_TS, second_ST = cast(Mlp, model.blocks[index].mlp_tokens).pair()
        panels.append(_mosaic((second_ST @ first_TS).float().cpu().numpy()))
    gap = np.full((panels[0].shape[0], 2, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    return enlarged(np.concatenate(row, axis=1))


def confusion(labels_M: torch.Tensor, said_M: torch.Tensor, classes: Sequence[str]) -> Image.Image:
    """See ``validation/confusion`` in `draw`; with names and numbers if there is room."""
    size = len(classes)
    counts_KK = torch.zeros(size, size)
    counts_KK.index_put_((labels_M.cpu(), said_M.cpu()), torch.ones(len(labels_M)), accumulate=True)
    shares_KK = (counts_KK / counts_KK.sum(1, keepdim=True).clamp(min=1)).numpy()
    cell = max(1, SIDE // size) if size > 20 else 30
    shade = (255 * (1 - shares_KK)).astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    picture = Image.fromarray(np.stack([shade, shade, np.full_like(shade, 255)], axis=2))
    if size > 20:
        return picture
    whole = Image.new("RGB", (picture.width + 70, picture.height + 16), "white")
    whole.paste(picture, (70, 16))
    pen = ImageDraw.Draw(whole)
    for at, name in enumerate(classes):
        pen.text((4, 16 + cell * at + 9), name[:10], fill="black")
        pen.text((70 + cell * at + 4, 2), name[:4], fill="black")
        for other in range(size):
            if counts_KK[at, other]:
                ink = "white" if shares_KK[at, other] > 0.5 else "black"
                pen.text(
                    (70 + cell * other + 6, 16 + cell * at + 9),
                    f"{int(counts_KK[at, other])}",
                    fill=ink,
                )
    return whole


def contact_sheet(images_NCHW: Pixels, captions: Sequence[str]) -> Image.Image:
    """Images side by side, four in a row, each with a line below."""
    side = 96
    columns = 4
    rows = -(-len(images_NCHW) // columns)
    sheet = Image.new("RGB", (columns * (side + 8), rows * (side + 22)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (pixels_CHW, caption) in enumerate(zip(images_NCHW, captions, strict=True)):
        left = index % columns * (side + 8) + 4
        top = index // columns * (side + 22) + 4
        flat = pixels_CHW[0] if pixels_CHW.shape[0] == 1 else pixels_CHW.transpose(1, 2, 0)
        sheet.paste(
            Image.fromarray(flat).convert("RGB").resize((side, side), Image.Resampling.NEAREST),
            (left, top),
        )
        pen.text((left, top + side + 2), caption[:17], fill="black")
    return sheet


@torch.inference_mode()
def _validation(run: ImageTrialRun) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    index_M = torch.linspace(0, len(run.val_set) - 1, min(_IMAGES, len(run.val_set))).long()
    model = run.evaluated
    training = model.training
    model.eval()
    batches = [run.val_set.batch(part) for part in index_M.split(run.config.train.eval_batch_size)]
    logits_MK = torch.cat(
        [model(run.augment.normalize(images)).float().cpu() for images, _ in batches]
    )
    model.train(training)
    return torch.cat([labels.cpu() for _, labels in batches]), logits_MK, index_M


def _most_wrong(labels_M: torch.Tensor, logits_MK: torch.Tensor) -> torch.Tensor:
    log_chance_M = logits_MK.log_softmax(1).gather(1, labels_M[:, None]).squeeze(1)
    order_M = log_chance_M.argsort(stable=True)
    return order_M[(logits_MK.argmax(1) != labels_M)[order_M]][:_WRONG]


def _mosaic(mixing_SS: npt.NDArray[np.float32]) -> Pixels:
    tokens = len(mixing_SS)
    side = round(tokens**0.5)
    step = -(-side // _TILES)
    grid_hwhw = mixing_SS.reshape(side, side, side, side)[::step, ::step]
    shown = grid_hwhw.shape[0]
    framed = np.full((shown, shown, side + 1, side + 1), np.nan, np.float32)
    framed[:, :, :side, :side] = grid_hwhw
    flat = framed.transpose(0, 2, 1, 3).reshape(shown * (side + 1), shown * (side + 1))[:-1, :-1]
    return _diverging(flat / max(float(np.nanmax(np.abs(flat))), 1e-12))


def _diverging(values: npt.NDArray[np.floating[Any]]) -> Pixels:
    # -1 blue, 0 white, 1 red; NaN is a grey frame.
    fade = np.clip(1 - np.abs(values), 0, 1)
    red = np.where(values > 0, 1, fade)
    blue = np.where(values < 0, 1, fade)
    colours = np.stack([red, fade, blue], axis=-1)
    return cast(
        Pixels,
        np.where(np.isnan(values)[..., None], 200, np.nan_to_num(colours) * 255).astype(np.uint8),
    )
