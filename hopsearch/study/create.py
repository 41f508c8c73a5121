"""Creates a study: its identity, first points, and trials inherited from another study."""

from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hopsearch.study.reader import load_study
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.journal_keys import IDENTITY, SOURCE

_DIRECTIONS = {1: StudyDirection.MAXIMIZE, -1: StudyDirection.MINIMIZE}


def load_or_create(
    storage: BaseStorage, folder: Path, identity: Identity, inherited: list[FrozenTrial]
) -> optuna.Study:
    """Load the study of that identity, creating it if it does not exist or its creation was
    interrupted.

    Args:
        storage: open for writing.
        folder: start of an error message.
        identity: what the study is.
        inherited: trials of another study that a new one starts with.

    Raises:
        StudyError: a different study of that name exists; the message lists the differences.
    """
    study = load_study(storage, identity.name)
    if study is None:
        study = optuna.create_study(
            storage=storage,
            study_name=identity.name,
            directions=[_DIRECTIONS[objective.sign] for objective in identity.space.objectives],
            load_if_exists=True,
        )
    stored = study.user_attrs.get(IDENTITY)
    if stored is None:  # new, or killed before its identity was written
        known = len(study.get_trials(deepcopy=False))
        for trial in inherited[known:]:
            study.add_trial(trial)
        for point in identity.space.first[max(0, known - len(inherited)) :]:
            study.enqueue_trial(dict(point), user_attrs={SOURCE: "first point"})
        study.set_user_attr(IDENTITY, identity.to_dict())
    else:
        identity.require_same(Identity.from_dict(stored), str(folder))
    return study
