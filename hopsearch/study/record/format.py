"""The format of what a study stores, so that an older version of hopsearch says that it is too old
instead of guessing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from hopsearch.core.errors import StudyError

FORMAT = (1, 1)
"""Major and minor. A new minor adds fields that an older version may pass over, a new major changes
what they mean.

1.0 is that of studies without a format; 1.1 added the format and the journal's chain."""

T = TypeVar("T")


def require_format(values: Mapping[str, Any], place: str) -> None:
    """Refuse a study that a later major format was written in.

    Raises:
        StudyError: naming both formats.
    """
    major, minor = values.get("format", (1, 0))
    if major > FORMAT[0]:
        writer = values.get("origin", {}).get("hopsearch", "")
        by = f", written by hopsearch {writer}" if writer else ""
        rule = f"this version reads studies of format {FORMAT[0]}.x, got format {major}.{minor}{by}"
        raise StudyError(place, rule, "Upgrade: pip install --upgrade hopsearch")


def known_fields(schema: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from stored values, without the fields that only a newer version knows."""
    names = {field.name for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    return schema(**{name: value for name, value in values.items() if name in names})
