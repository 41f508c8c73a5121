"""Whether two trainings are on the same images, split alike: asked by every verb, answered here."""

from collections.abc import Mapping
from typing import Any

from hopsearch.data.config import DataConfig, DataFacts

_NOT_SPLITTING = frozenset({"cache", "memory_limit"})
"""Settings that change where images lie or how they are held, not which they are."""


def data_identity(config: DataConfig, facts: DataFacts) -> dict[str, Any]:
    """What a study or a training keeps of its data, to be compared with `data_difference`."""
    return {"source": config.source, "image_size": facts.image_size, "fingerprint": facts.fingerprint}


def data_settings(config: DataConfig) -> dict[str, Any]:
    """All settings that decide which images there are and how they are split, as plain JSON."""
    return config.model_dump(exclude=set(_NOT_SPLITTING))


def data_difference(asked: Mapping[str, Any], begun: Mapping[str, Any]) -> list[str]:
    """Lines that say where ``asked`` differs from what was ``begun`` with; empty for the same images, split alike.

    Where the fingerprints agree, the spelling of the source does not matter.
    """
    keys = sorted(set(asked) | set(begun))
    if asked.get("fingerprint") == begun.get("fingerprint"):
        keys = [key for key in keys if key != "source"]
    return [f"data.{key}: {asked.get(key)} != {begun.get(key)}" for key in keys if asked.get(key) != begun.get(key)]
