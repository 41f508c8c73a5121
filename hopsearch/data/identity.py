"""Whether two trainings are on the same images, split alike: asked by every verb, answered here."""

from collections.abc import Mapping
from typing import Any

from hopsearch.data.files.config import DataConfig, DataFacts

BY_CONTENTS = "2:"
"""What fingerprints of image files' contents begin with; those of names and file sizes have no such
mark.
"""
_FORMER = "former_fingerprint"
_NOT_SPLITTING = frozenset({"cache", "memory_limit"})
"""Settings that change where images lie or how they are held, not which they are."""


def data_identity(config: DataConfig, facts: DataFacts) -> dict[str, Any]:
    """What a study or a training is asked to train on, to be compared with `data_difference`;
    `kept` of it is stored.
    """
    known = {
        "source": config.source,
        "image_size": facts.image_size,
        "fingerprint": facts.fingerprint,
    }
    views = {"crop_pct": config.crop_pct, "keep_original": config.keep_original}
    # Said only where they are not the defaults, which older studies did not know by name.
    known |= {
        name: value
        for name, value in views.items()
        if value != DataConfig.model_fields[name].default
    }
    return known | {_FORMER: facts.former_fingerprint}


def kept(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of a `data_identity`: all but the fingerprint that only older studies are
    compared by.
    """
    return {key: value for key, value in data.items() if key != _FORMER}


def data_settings(config: DataConfig) -> dict[str, Any]:
    """All settings that decide which images there are and how they are split, as plain JSON."""
    return config.model_dump(exclude=set(_NOT_SPLITTING))


def data_difference(asked: Mapping[str, Any], begun: Mapping[str, Any]) -> list[str]:
    """Lines that say where ``asked`` differs from what was ``started`` with; empty for the same
    images, split alike.

    Where the fingerprints agree, the spelling of the source does not matter. A study that was
    started with a fingerprint of names and file sizes is compared by those, see
    `accepted_by_names`.
    """
    ours, theirs = kept(asked), kept(begun)
    keys = sorted(set(ours) | set(theirs))
    if ours.get("fingerprint") == theirs.get("fingerprint") or accepted_by_names(asked, begun):
        keys = [key for key in keys if key not in ("source", "fingerprint")]
    lines = [
        f"data.{key}: {_said(ours, key)} != {_said(theirs, key)}"
        for key in keys
        if ours.get(key) != theirs.get(key)
    ]
    old = not str(theirs.get("fingerprint", "")).startswith(BY_CONTENTS)
    if lines and old and asked.get(_FORMER) == "":
        lines.append(
            "an older version split this folder differently: it read val/ as the test split, or "
            "ignored these names"
        )
    return lines


def accepted_by_names(asked: Mapping[str, Any], begun: Mapping[str, Any]) -> str:
    """A sentence, where the images are taken to be the same by their names and file sizes alone;
    empty otherwise.
    """
    by_contents = [
        str(data.get("fingerprint", "")).startswith(BY_CONTENTS) for data in (asked, begun)
    ]
    if by_contents != [True, False] or begun.get("fingerprint") != asked.get(_FORMER):
        return ""
    return (
        "data: compared by file names and sizes only, as in the version that started it; contents "
        "are not compared"
    )


def _said(data: Mapping[str, Any], key: str) -> Any:
    """A value; the default where it is not said because it is that."""
    field = DataConfig.model_fields.get(key)
    return data.get(key, field.default if field else None)
