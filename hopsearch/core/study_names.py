"""The rule for names of studies and trainings: a valid folder name on every system that never
leaves its parent folder.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from hopsearch.core.errors import StudyError

RULE = (
    "a name consists of letters, digits, spaces and . _ - + = @ , starts and ends with a letter, "
    "digit or _, and has at most 200 bytes"
)
"""The rule in words. Letters and digits of any script are allowed, in composed form (NFC)."""

_MOST = 200  # bytes: file systems allow 255, and temporary files next to a study extend its name
_INNER = " .-+=@,"


def check_name(name: str) -> str:
    """The name in composed form.

    Raises:
        ValueError: it breaks the rule; the message is "rule; remedy".
    """
    name = unicodedata.normalize("NFC", name)
    if _is_name(name):
        return name
    *folders, last = re.split(r"[/\\]", name.rstrip("/\\"))
    if folders and _is_name(last):
        raise ValueError(f"{RULE}; Set the folder with storage= and the name as {last}")
    raise ValueError(f"{RULE}; Write e.g. {derive_name(name)}")


Name = Annotated[str, AfterValidator(check_name)]
"""A text setting that is a name."""


def derive_name(*parts: str) -> str:
    """A name derived from other words, such as a space and a data set: invalid characters become
    dashes.
    """
    letters = unicodedata.normalize("NFC", "-".join(parts))
    name = re.sub(
        "-{2,}", "-", "".join(one if _edge(one) or one in _INNER else "-" for one in letters)
    )
    while len(name.encode()) > _MOST:
        name = name[:-1]
    return name.strip(_INNER) or "study"


def slug(name: str) -> str:
    """A data set's name as part of a study name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "data"


def require_name(name: str) -> str:
    """As `check_name`, for names that do not come through a settings class.

    Raises:
        StudyError: it breaks the rule.
    """
    try:
        return check_name(name)
    except ValueError as error:
        rule, _, remedy = str(error).partition("; ")
        raise StudyError("study", f"{rule}, got {name!r}", remedy) from None


def _is_name(name: str) -> bool:
    fits = (
        bool(name)
        and all(_edge(one) or one in _INNER for one in name)
        and _edge(name[0])
        and _edge(name[-1])
    )
    return fits and len(name.encode()) <= _MOST


def _edge(one: str) -> bool:
    # M: combining marks, with which many scripts write vowels
    return one == "_" or unicodedata.category(one)[0] in "LNM"
