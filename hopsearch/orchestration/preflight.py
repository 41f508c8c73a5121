"""Checks whether a search can start, without side effects: asks an in-memory copy of its study for
the first trial.
"""

import tempfile
from pathlib import Path

from hopsearch.core.errors import StudyError
from hopsearch.study.persistence.stores import MEMORY
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.trial import TrialRecord
from hopsearch.study.sampling.priors import Prior
from hopsearch.study.sampling.proposals import Admit
from hopsearch.study.warm_start import WarmStart
from hopsearch.study.writer import Study


def rehearse(
    identity: Identity,
    sampler: str,
    pruner: str,
    prior: Prior,
    warm_start: WarmStart | None,
    admit: Admit,
    place: str,
) -> TrialRecord:
    """The first trial that the search would train.

    Args:
        identity, sampler, pruner, prior, warm_start, admit: as of `Study` and `Study.ask`. place:
        start of an error message about the study.

    Raises:
        UserError: what the search itself would raise: an unknown name, a prior outside the space,
            no configuration that satisfies the constraints.
    """
    words = (identity, sampler, pruner, MEMORY, prior, warm_start)
    with (
        tempfile.TemporaryDirectory(prefix="hopsearch-") as folder,
        Study(Path(folder), *words) as study,
    ):
        try:
            record = study.ask(admit)
        except StudyError as error:
            raise StudyError(place, error.rule, error.hint) from None
    if record is None:
        rule = "some configuration must satisfy the constraints, got none in the whole grid"
        raise StudyError(place, rule, "Relax constraint.*, or add smaller models to the space")
    return record
