"""The fingerprint of a data set and its split, a hash of the images' contents; and duplicate
images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hopsearch.data.comparison import BY_CONTENTS
from hopsearch.data.files.cache import cache_folder
from hopsearch.data.files.content_hashes import Listed, sums_of, twice, two_classes
from hopsearch.data.files.dataset_config import DataConfig
from hopsearch.data.files.listed_parts import FilePart, HeldOut, Part, Source, digest
from hopsearch.data.files.stratified_split import Indices


@dataclass(frozen=True)
class Prints:
    """Inputs of a fingerprint.

    Attributes:
        source: the data set as listed.
        config: how it is split.
        pool: the decoded images, validation images first.
        test: the test split.
        n_val: number of readable validation images.
        size, channels: of the decoded images.
        skipped: positions in ``pool`` of unreadable images.
    """

    source: Source
    config: DataConfig
    pool: Part
    test: HeldOut
    n_val: int
    size: int
    channels: int
    skipped: tuple[int, ...]

    def contents(self) -> str:
        """The fingerprint: equal if the same contents are split the same way, whatever the folder's
        name.

        In-memory data sets keep their original rule, which hashes pixels.
        """
        if not isinstance(self.pool, FilePart):
            return self._before()
        test = self.test.listed
        held_out: Any = self.test.identity
        if isinstance(test, FilePart):
            held_out = sorted(zip(test.labels_N.tolist(), self._sums(test), strict=True))
        pool = [self.pool.labels_N.tolist(), self._sums(self.pool)]
        shape = [self.source.classes, self.size, self.channels, self.n_val, self.skipped]
        return BY_CONTENTS + digest([shape, pool, held_out])

    def names(self) -> str:
        """The fingerprint of names and file sizes, used by studies older than `content_hashes`."""
        return self._before() if self.source.found.as_before else ""

    def _before(self) -> str:
        config = self.config
        source = self.source
        test = config.test_fraction if source.test is None else source.test.identity
        split = [config.val_fraction, config.split_seed, test]
        return digest(
            [source.train.identity(), source.classes, self.size, self.channels, split, self.skipped]
        )

    def warnings(self, kept: Indices) -> list[str]:
        """Sentences about images that are in two splits or two classes; none for in-memory data
        sets.

        Args:
            kept: positions in ``pool`` of the readable images.
        """
        if not isinstance(self.pool, FilePart):
            return []
        lists = [
            Listed("validation", self.pool, kept[: self.n_val]),
            Listed("training", self.pool, kept[self.n_val :]),
        ]
        test = self.test.listed
        if isinstance(test, FilePart):
            self._sums(test)
            lists.append(Listed("test", test, np.flatnonzero(np.array(test.sizes))))
        val, train, *tests = lists
        said = [twice(train, val), *(twice(other, one) for one in tests for other in (train, val))]
        return [line for line in (*said, two_classes(lists, self.source.classes)) if line]

    def _sums(self, part: FilePart) -> list[bytes]:
        return [row.tobytes() for row in sums_of(self._folder, part)]

    @property
    def _folder(self) -> Path:
        return cache_folder(self.config.cache)
