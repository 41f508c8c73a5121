"""Checks whether two trainings use the same images and the same split; used by every verb."""

from collections.abc import Mapping
from typing import Any

from hopsearch.data.files.dataset_config import DataConfig, DataFacts

BY_CONTENTS = "2:"
"""Prefix of fingerprints of image files' contents; those of names and file sizes have none."""
_FORMER = "former_fingerprint"
_NOT_SPLITTING = frozenset({"cache", "memory_limit"})
"""Settings that change where images are or how they are stored, not which they are."""


def data_identity(config: DataConfig, facts: DataFacts) -> dict[str, object]:
    """The identity of requested data, to be compared with `data_difference`; its `kept` part is
    stored.
    """
    known = {
        "source": config.source,
        "image_size": facts.image_size,
        "fingerprint": facts.fingerprint,
    }
    views = {"crop_pct": config.crop_pct, "keep_original": config.keep_original}
    # Only included if they are not the defaults, since older studies did not record them.
    known |= {
        name: value
        for name, value in views.items()
        if value != DataConfig.model_fields[name].default
    }
    return known | {_FORMER: facts.former_fingerprint}


def kept(data: Mapping[str, object]) -> dict[str, object]:
    """The stored part of a `data_identity`: everything except the fingerprint used only to compare
    with older studies.
    """
    return {key: value for key, value in data.items() if key != _FORMER}


def data_settings(config: DataConfig) -> dict[str, object]:
    """All settings that determine the images and their split, as plain JSON."""
    return config.model_dump(exclude=set(_NOT_SPLITTING))


def data_difference(asked: Mapping[str, object], begun: Mapping[str, object]) -> list[str]:
    """One line per difference between ``asked`` and ``begun``; empty for the same images and
    split.

    If the fingerprints agree, the spelling of the source does not matter. A study that was started
    with a fingerprint of names and file sizes is compared by those, see `accepted_by_names`.
    """
    ours = kept(asked)
    theirs = kept(begun)
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


def accepted_by_names(asked: Mapping[str, object], begun: Mapping[str, object]) -> str:
    """A sentence if the images are only compared by names and file sizes; empty otherwise."""
    by_contents = [
        str(data.get("fingerprint", "")).startswith(BY_CONTENTS) for data in (asked, begun)
    ]
    if by_contents != [True, False] or begun.get("fingerprint") != asked.get(_FORMER):
        return ""
    return (
        "data: compared by file names and sizes only, as in the version that started it; contents "
        "are not compared"
    )


def _said(data: Mapping[str, object], key: str) -> Any:
    """A value, or the default if it was omitted for being the default."""
    field = DataConfig.model_fields.get(key)
    return data.get(key, field.default if field else None)
