"""Original sizes of the images before resizing, for the summary.

Shapes: N images.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_SHOWN = 3  # most sizes that are listed individually

Size = tuple[int, int]


@dataclass(frozen=True)
class Originals:
    """Widths and heights of image files, upright.

    Attributes:
        kinds: how many different sizes there are.
        commonest: ``width, height, images`` of up to three of them, the commonest first.
        smallest, largest: by area.
        enlarged: number of images with a side shorter than the decoded size.
    """

    kinds: int
    commonest: tuple[tuple[int, int, int], ...]
    smallest: Size
    largest: Size
    enlarged: int

    @classmethod
    def of(cls, own_N: npt.NDArray[np.int64], size: int) -> "Originals | None":
        """From sizes (N, 2), zeros if unknown; None if all are unknown.

        Args:
            own_N: width and height of each image.
            size: pixels per side that they are decoded to.
        """
        known = own_N[own_N.any(axis=1)]
        if not len(known):
            return None
        counts = Counter(map(tuple, known.tolist()))
        by_area = sorted(counts, key=lambda one: (one[0] * one[1], one))
        return cls(
            kinds=len(counts),
            commonest=tuple(
                (*one, count)
                for one, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[
                    :_SHOWN
                ]
            ),
            smallest=by_area[0],
            largest=by_area[-1],
            enlarged=int((known.min(axis=1) < size).sum()),
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Originals":
        """Of plain values, as `dataclasses.asdict` gives them."""
        return cls(
            int(values["kinds"]),
            tuple(tuple(map(int, one)) for one in values["commonest"]),  # type: ignore[misc]  # three numbers each
            tuple(map(int, values["smallest"])),  # type: ignore[arg-type]
            tuple(map(int, values["largest"])),  # type: ignore[arg-type]
            int(values["enlarged"]),
        )

    def words(self, size: int) -> str:
        """The sizes in words; empty if no image was resized.

        Args:
            size: pixels per side of the model's input.
        """
        if self.kinds == 1 and self.smallest == (size, size):
            return ""
        if self.kinds <= _SHOWN:
            said = ", ".join(f"{_times(one)} px ({count:,})" for *one, count in self.commonest)
        else:
            *one, count = self.commonest[0]
            between = f"{_times(self.smallest)} to {_times(self.largest)} px"
            said = f"{self.kinds:,} sizes from {between}, most often {_times(one)} ({count:,})"
        return said + (
            f"; {self.enlarged:,} smaller than {size} px, enlarged" if self.enlarged else ""
        )


def _times(size: Any) -> str:
    width, height = size
    return f"{width} × {height}"
