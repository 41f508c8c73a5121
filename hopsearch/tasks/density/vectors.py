"""Vectors in three splits, scaled as the training part says.

Shapes: N = items, V = values of one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from hopsearch import data as image_data
from hopsearch.core.errors import DataError
from hopsearch.data import DataConfig, ImageSet
from hopsearch.tasks.contract import Facts
from hopsearch.tasks.density.density_config import DensityData

MOST_WHITENED = 4096
"""Most values of a vector that can be whitened: the matrix has their square."""
_ROUNDING = 1e-12  # variance of equal float32 numbers, at most, as a share of their square
_AT_ONCE = 4096  # vectors that are taken to float64 at a time


@dataclass(frozen=True)
class VectorFacts(Facts):
    """Facts about a set of vectors.

    Attributes:
        n_visible: values of a vector.
        shape: channels, height and width of the images they were; empty for vectors.
    """

    n_visible: int = 0
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scaling:
    """x ↦ (x − mean) · scale.

    Attributes:
        mean_V: of each value.
        scale: a factor each (V,), or a matrix (V, V) that acts from the right.
    """

    mean_V: torch.Tensor
    scale: torch.Tensor

    def __call__(self, x_NV: torch.Tensor) -> torch.Tensor:
        """Scaled vectors."""
        centred_NV = x_NV - self.mean_V
        return centred_NV @ self.scale if self.scale.ndim == 2 else centred_NV * self.scale


class VectorSplits:
    """Training and validation vectors, scaled; only `read_test` gives the test split.

    Attributes:
        facts: of the data.
        train_NV, val_NV: the vectors, float32 in memory.
        scaling: what was fitted to the training part.
        missing: probability that a value is missing where that is measured.
    """

    def __init__(
        self,
        facts: VectorFacts,
        parts: tuple[torch.Tensor, torch.Tensor],
        open_test: Callable[[], torch.Tensor],
        config: DensityData,
    ) -> None:
        self.facts = facts
        self.missing = config.missing
        train_NV, val_NV = parts
        self.scaling = fit_scaling(train_NV, config)
        self.train_NV = self.scaling(train_NV)
        self.val_NV = self.scaling(val_NV)
        self._open_test = open_test

    def read_test(self) -> torch.Tensor:
        """Read the test split: for finished winners, never for a search.

        Raises:
            DataError: it cannot be read.
        """
        return self.scaling(self._open_test())


def fit_scaling(train_NV: torch.Tensor, config: DensityData) -> Scaling:
    """The scaling of ``config.scaling``, from training vectors alone.

    Raises:
        DataError: more values than can be whitened.
    """
    size = train_NV.shape[1]
    if config.scaling == "none":
        return Scaling(torch.zeros(size), torch.ones(size))
    mean_V = _mean(train_NV, lambda x_NV: x_NV.sum(0))
    variance_V = _mean(train_NV, lambda x_NV: (x_NV - mean_V).square().sum(0))
    if config.scaling == "global":
        variance = variance_V.mean() + (mean_V - mean_V.mean()).square().mean()
        variance_V = variance.expand(size)
    # a value that never changes, but for rounding, is not divided
    changes_V = variance_V > _ROUNDING * mean_V.square()
    scale_V = torch.where(changes_V, variance_V.rsqrt(), 1.0)
    from_V = mean_V if config.centred else torch.zeros_like(mean_V)
    if config.scaling != "whiten":
        return Scaling(from_V.float(), scale_V.float())
    if size > MOST_WHITENED:
        rule = f"at most {MOST_WHITENED} values of a vector can be whitened, got {size}"
        hint = "Set a smaller data.image_size, or data.scaling=standard"
        raise DataError(f"data.source={config.source}", rule, hint)

    def outer(x_NV: torch.Tensor) -> torch.Tensor:
        standard_NV = (x_NV - mean_V) * scale_V
        return standard_NV.T @ standard_NV

    correlation_VV = _mean(train_NV, outer)
    values_V, vectors_VV = torch.linalg.eigh(correlation_VV)
    gain_V = (values_V.clamp(min=0) + config.whiten_eps).rsqrt()
    root_VV = vectors_VV * gain_V @ vectors_VV.T
    # standardising and whitening in one matrix, which acts from the right
    return Scaling(from_V.float(), (scale_V[:, None] * root_VV).float())


def _mean(x_NV: torch.Tensor, total_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A mean over items in float64, without a copy of them all: ``total_of`` gives the sum over
    some.
    """
    total = sum(total_of(part_NV.double()) for part_NV in x_NV.split(_AT_ONCE))
    assert isinstance(total, torch.Tensor), "there are items"
    return total / len(x_NV)


def load(config: DensityData) -> VectorSplits:
    """Read a data set's training and validation vectors.

    Raises:
        DataError: the source is missing, not readable, or too small to be split.
    """
    return _of_array(config) if config.is_array else _of_images(config)


def _of_images(config: DensityData) -> VectorSplits:
    asked = config.model_dump(include=set(DataConfig.model_fields))
    splits = image_data.load(DataConfig(**asked))
    found = splits.facts
    shape = (found.channels, found.image_size, found.image_size)
    facts = VectorFacts(
        name=found.name,
        n_train=found.n_train,
        n_val=found.n_val,
        n_test=found.n_test,
        fingerprint=found.fingerprint,
        summary=(*found.summary, _told(int(np.prod(shape)), config)),
        n_visible=int(np.prod(shape)),
        shape=shape,
    )
    parts = _flat(splits.train), _flat(splits.val)
    return VectorSplits(facts, parts, lambda: _flat(splits.read_test()), config)


def _flat(images: ImageSet) -> torch.Tensor:
    pixels_NCHW, _ = images.batch(slice(0, len(images)))
    return pixels_NCHW.flatten(1).float() / 255


def _of_array(config: DensityData) -> VectorSplits:
    path = Path(config.source).expanduser()
    x_NV = _read_array(path, f"data.source={config.source}")
    order_N = np.random.default_rng(config.split_seed).permutation(len(x_NV))
    n_test = max(1, round(config.test_fraction * len(x_NV)))
    n_val = max(1, round(config.val_fraction * (len(x_NV) - n_test)))
    test_N, val_N, train_N = np.split(order_N, [n_test, n_test + n_val])
    if not len(train_N):
        rule = (
            f"must leave vectors to train on, got {n_val} to validate and {n_test} held out "
            f"of {len(x_NV)}"
        )
        hint = "Set a smaller data.val_fraction or data.test_fraction"
        raise DataError(f"data.source={config.source}", rule, hint)
    digest = sha256(x_NV.data)
    digest.update(repr((x_NV.shape, test_N.tolist(), val_N.tolist())).encode())
    size = x_NV.shape[1]
    counts = f"{len(train_N):,} to train on, {n_val:,} to validate, {n_test:,} held out"
    facts = VectorFacts(
        name=path.stem,
        n_train=len(train_N),
        n_val=n_val,
        n_test=n_test,
        fingerprint=digest.hexdigest(),
        summary=(f"data: {path.name}, {len(x_NV):,} vectors: {counts}", _told(size, config)),
        n_visible=size,
    )
    train, val, test = (torch.from_numpy(x_NV[index]) for index in (train_N, val_N, test_N))
    return VectorSplits(facts, (train, val), lambda: test, config)


def _read_array(path: Path, place: str) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        rule = f"must be a readable array of numbers, got: {' '.join(str(error).split())}"
        raise DataError(place, rule, "Write it with numpy.save") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub" or found.ndim < 2:
        got = f"{found.dtype} of shape {found.shape}" if hasattr(found, "dtype") else "an archive"
        rule = f"must be an array of numbers with two axes or more, got {got}"
        raise DataError(place, rule, "The first axis counts the vectors")
    if len(found) < 3:
        rule = f"must have 3 vectors at least, one for each split, got {len(found)}"
        raise DataError(place, rule, "Name a file with more vectors")
    x_NV = np.ascontiguousarray(found.reshape(len(found), -1), dtype=np.float32)
    if not x_NV.shape[1]:
        raise DataError(place, "must have values in its vectors, got none", "Name another file")
    wrong = int(np.count_nonzero(~np.isfinite(x_NV)))
    if wrong:
        rule = f"must have finite values alone, got {wrong} others"
        raise DataError(place, rule, "Leave these vectors out, or fill them in")
    return x_NV


def _told(size: int, config: DensityData) -> str:
    words = {
        "global": "divided by one standard deviation",
        "standard": "each divided by its standard deviation",
        "whiten": f"whitened (ZCA, eps {config.whiten_eps:g})",
        "none": "not scaled",
    }
    centred = "centred, " if config.centred and config.scaling != "none" else ""
    return f"  as vectors of {size:,} values, {centred}{words[config.scaling]}"
