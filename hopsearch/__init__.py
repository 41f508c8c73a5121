"""hopsearch: distributed hyperparameter and architecture search for Hopfield-derived vision mixers.

    study = hopsearch.search(space="imixer", data="digits", trials=12)
    study = hopsearch.Study.open("imixer-digits")  # a study searched earlier
    study.best, study.trials
    model = hopsearch.load(study.folder)

These names are imported on first use, so importing hopsearch alone is fast.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hopsearch.api import Best, Study, load, search

__version__ = "0.1.0"
__all__ = ["Best", "Study", "load", "search"]

# a library is silent where its user configures nothing
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hopsearch' has no attribute {name!r}")
    return getattr(importlib.import_module("hopsearch.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
