"""The version of the storage format, so that an older hopsearch refuses newer studies instead of
misreading them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from hopsearch.core.errors import StudyError

FORMAT = (1, 1)
"""Major and minor. A new minor version adds fields that older versions may ignore, a new major
version changes their meaning.

1.0: studies without a format; 1.1 added the format and the journal's hash chain.
"""

T = TypeVar("T")


def require_format(values: Mapping[str, Any], place: str) -> None:
    """Refuse a study written in a later major format.

    Raises:
        StudyError: naming both formats.
    """
    major, minor = values.get("format", (1, 0))
    if major > FORMAT[0]:
        writer = values.get("origin", {}).get("hopsearch", "")
        by = f", written by hopsearch {writer}" if writer else ""
        rule = f"this version reads studies of format {FORMAT[0]}.x, got format {major}.{minor}{by}"
        raise StudyError(place, rule, "Upgrade: pip install --upgrade hopsearch")


def known_fields(schema: type[T], values: Mapping[str, object]) -> T:
    """A dataclass from stored values, ignoring fields of newer versions."""
    names = {field.name for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    return schema(**{name: value for name, value in values.items() if name in names})
