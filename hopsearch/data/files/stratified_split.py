"""A seeded, stratified order of images, from which all splits are taken.

The images of each class are shuffled and spread evenly over the unit interval; all images are then
sorted by that position. Any prefix of this order is stratified, so that one decoded array serves
every ``val_fraction``: the splits are slices, not copies.

Shapes: N images, K classes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hopsearch.core.errors import DataError

Indices = npt.NDArray[np.int64]


def stratified_order(labels_N: Indices, seed: int) -> Indices:
    """Indices of all images such that every prefix holds nearly the same share of each class, at
    least one image of each in any prefix, and at least one of each outside any prefix that
    `prefix_length` gives.
    """
    rng = np.random.default_rng(seed)
    shuffled_N = rng.permutation(len(labels_N))
    position_N = np.empty(len(labels_N))
    for label in np.unique(labels_N):
        members = shuffled_N[labels_N[shuffled_N] == label]
        position_N[members] = _positions(len(members))
    # Stable: equal positions stay in shuffled order, which depends only on the seed.
    return shuffled_N[np.argsort(position_N[shuffled_N], kind="stable")].astype(np.int64)


def prefix_length(labels_N: Indices, fraction: float) -> int:
    """Images in the stratified prefix that holds ``fraction`` of every class, at least one of each,
    and never all of one.
    """
    counts_K = np.unique(labels_N, return_counts=True)[1]
    return int(sum(np.count_nonzero(_positions(count) < fraction) for count in counts_K))


def require_per_class(labels_N: Indices, classes: Sequence[str], least: int, place: str) -> None:
    """Refuse a class with fewer than ``least`` images.

    Raises:
        DataError: naming the class.
    """
    counts_K = np.bincount(labels_N, minlength=len(classes))
    for name, count in zip(classes, counts_K.tolist(), strict=True):
        if count < least:
            rule = (
                f"every class needs at least {least} images, one per split; class {name!r} has "
                f"{count}"
            )
            raise DataError(place, rule, "Add images to the class, or remove its folder")


def _positions(count: int) -> npt.NDArray[np.float64]:
    # The first image of a class is always inside a prefix and the last always outside, however
    # small the class.
    position = (np.arange(count) + 0.5) / count
    position[0] = 0.0
    position[-1] = 1.0
    return position
