"""The names of splits: whether a folder's name means train, val, test, or nothing."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Role = Literal["train", "val", "test"]
_WORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainset", "trainingset", "trainval"), "train"),
    **dict.fromkeys(
        (
            "val",
            "valid",
            "validation",
            "validate",
            "dev",
            "devel",
            "development",
            "valset",
            "devset",
        ),
        "val",
    ),
    **dict.fromkeys(("test", "testing", "tst", "testset", "holdout", "eval", "evaluation"), "test"),
}
_KINDS = (
    "images",
    "image",
    "imgs",
    "img",
    "pictures",
    "photos",
    "data",
    "dataset",
    "set",
    "sets",
    "split",
    "part",
    "files",
    "folder",
)
"""Generic words for contents: combined with a split's name they add no meaning."""
_JOINED = re.compile(f"({'|'.join(sorted(_WORDS, key=len, reverse=True))})({'|'.join(_KINDS)})")
_TOKEN = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_HOLD_OUT = re.compile("hold[-_ ]out", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """How a folder's name is read."""

    role: Role | None
    """The split that the name refers to; None for an ordinary name, or if it refers to several."""
    whole: bool
    """Whether the name consists only of that word: ``Test`` and ``test_images``, not
    ``crash_test``.
    """
    several: bool = False
    """Whether it refers to several splits, as ``val_test`` does."""
    rest: tuple[str, ...] = ()
    """The remaining words: ``seg`` of ``seg_train``."""


def normal(name: str) -> str:
    """The name as text in composed form (NFC): macOS writes é as e and an accent, which looks the
    same and is not equal.

    Bytes that are not UTF-8, as in names from an archive of another system, become ``\\xe9``, since
    they could not be written to files.
    """
    return unicodedata.normalize(
        "NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


def read_name(name: str) -> Reading:
    """Interpret a folder's name: in any case, with any prefix and suffix, as in ``seg_train``,
    ``TestImages``, ``val2017``.

    ``train_val`` and ``trainval`` are the training split: data sets with such a folder split the
    validation images off it.
    """
    pieces = [
        piece
        for token in _TOKEN.findall(_HOLD_OUT.sub("holdout", normal(name)))
        for piece in _words_of(token)
    ]
    roles = [_WORDS[piece] for piece in pieces if piece in _WORDS]
    rest = tuple(piece for piece in pieces if piece not in _WORDS and piece not in _KINDS)
    if roles == ["train", "val"]:
        return Reading("train", whole=not rest, rest=rest)
    if len(set(roles)) > 1:
        return Reading(None, whole=False, several=True, rest=rest)
    return Reading(roles[0] if roles else None, whole=bool(roles) and not rest, rest=rest)


def _words_of(token: str) -> list[str]:
    """Compound names in lower case: ``TestImages``, ``testimages``."""
    if token.lower() in _WORDS:
        return [token.lower()]
    if joined := _JOINED.fullmatch(token.lower()):
        return list(joined.groups())
    return [piece.lower() for piece in _CAMEL.findall(token)] or [token]
