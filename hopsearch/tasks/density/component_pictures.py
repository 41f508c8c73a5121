"""Pictures of a density of images in training, as PNG, for TensorBoard: its components, and
completed images.

Shapes: N = images shown, V = pixels, C/H/W = channels, height and width.
"""

import numpy as np
import torch

from hopsearch.tasks.density.density_run import DensityTrialRun
from hopsearch.tasks.drawing import Pixels, enlarged, png

_COMPONENTS = 40
_COLUMNS = 10
_COMPLETED = 10
_GREY = 0.5  # of missing pixels


@torch.no_grad()
def draw(run: DensityTrialRun) -> dict[str, bytes]:
    """All pictures of the state of ``run``, by TensorBoard tag; none where vectors are no images.

    ``components/means``: the means of the components with the largest weights, the largest first.
    ``validation/completed``: in rows, validation images; the same with their missing pixels grey;
    and these completed.
    """
    shape = run.splits.facts.shape
    if not shape:
        return {}
    model = run.evaluated
    largest_N = model.log_weights().argsort(descending=True)[:_COMPONENTS]
    means_NV = model.unscale(model.means()[largest_N])
    v_NV = run.example(_COMPLETED)
    missing_NV = run.missing_of(len(v_NV)).to(v_NV.device)
    seen_NV = model.unscale(v_NV)
    # where pixels are mixed by whitening, it is the whitened ones that are missing
    hidden_NV = (
        model.unscale(v_NV.masked_fill(missing_NV, 0.0))
        if model.data_scale.ndim == 2
        else seen_NV.masked_fill(missing_NV, _GREY)
    )
    completed_NV = model.unscale(model.complete(v_NV, missing_NV))
    rows_NV = torch.cat([seen_NV, hidden_NV, completed_NV])
    return {
        "components/means": png(enlarged(_sheet(means_NV, shape, _COLUMNS))),
        "validation/completed": png(enlarged(_sheet(rows_NV, shape, len(v_NV)))),
    }


def _sheet(x_NV: torch.Tensor, shape: tuple[int, ...], columns: int) -> Pixels:
    """Images in rows, with a line of white between them."""
    images_NCHW = x_NV.reshape(-1, *shape).clamp(0, 1).mul(255).round().cpu().numpy()
    _, height, width = shape
    rows = -(-len(images_NCHW) // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for at, image_CHW in enumerate(images_NCHW):
        top = at // columns * (height + 1)
        left = at % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image_CHW.transpose(1, 2, 0)
    return sheet
