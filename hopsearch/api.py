"""hopsearch from Python: ``hopsearch.search``, ``hopsearch.Study``, ``hopsearch.load``.

    study = hopsearch.search(space="imixer", data="digits", trials=12)
    study.best.params, study.trials.head()
    model = hopsearch.load(study.folder)

Only `search` needs Ray, and imports it when called.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hopsearch.artifact import load_model as load
from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.core.redaction import learn, learn_from
from hopsearch.core.study_names import require_name
from hopsearch.reporting.data_frames import curves_frame, trials_frame
from hopsearch.reporting.leaderboard import Row, leaderboard
from hopsearch.study import StudyView

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Best", "Study", "load", "search"]


# Ray decides once per process whether to use a token; a cluster started here later needs the same
# one.
_KEPT = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}


@dataclass(frozen=True)
class Best:
    """The best trial of a study.

    Attributes:
        number: of the trial.
        value: its objective: the best on its curve; for the finished winner, that of its weights.
        epoch: the epoch of that value.
        params: the searched parameters.
        config: all settings by dotted name.
        cost: ``n_params``, ``flops``, ``memory``.
    """

    number: int
    value: float
    epoch: int
    params: dict[str, Any]
    config: dict[str, Any]
    cost: dict[str, float]


class Study:
    """A read-only view of a study, even while another process runs the search.

    Args:
        view: the current state of the study; `refresh` updates it.
    """

    def __init__(self, view: StudyView) -> None:
        self._view = view

    @classmethod
    def open(cls, name: str, storage: str = "runs", database: str | None = None) -> "Study":
        """Open an existing study by name.

        Raises:
            StudyError: there is none.
        """
        learn(database or "")
        return cls(StudyView.open(Path(storage) / require_name(name), database))

    @property
    def name(self) -> str:
        """The study's name."""
        return self._view.identity.name

    @property
    def folder(self) -> Path:
        """Its folder with journal, checkpoints, winner and TensorBoard files."""
        return self._view.folder

    @property
    def best(self) -> Best:
        """The best trial.

        Raises:
            StudyError: no trial has a value yet.
        """
        best = self._best()
        if best is None or best.value is None:
            raise StudyError(
                str(self.folder),
                "must have a trial with a value, got none",
                "Look at study.trials for the reasons",
            )
        record = best.record
        return Best(
            record.number,
            best.value,
            best.best_epoch,
            dict(record.params),
            dict(record.config),
            dict(record.cost),
        )

    @property
    def trials(self) -> "pd.DataFrame":
        """All trials, best first; see `hopsearch.reporting.data_frames.trials_frame` for the
        columns.
        """
        return trials_frame(self._view)

    @property
    def curves(self) -> "pd.DataFrame":
        """All learning curves: ``trial``, ``epoch``, and a column named after the objective."""
        return curves_frame(self._view)

    @property
    def winner(self) -> dict[str, Any] | None:
        """The finished winner: ``trial``, ``epoch``, ``val_acc``, ``test_acc``, …; None before it
        is finished.
        """
        return self._view.winner

    def refresh(self) -> "Study":
        """Read what was added since the last time."""
        self._view.refresh()
        return self

    def report(
        self, to: str | Path | None = None, compare: "Study | None" = None, format: str = "html"
    ) -> Path:
        """Write the report of ``python -m hopsearch.report``, and return its path.

        Args:
            to: the file; by default report.<format> in the study's folder.
            compare: another study to compare with.
            format: html, csv, json or md.

        Raises:
            StudyError: the file cannot be written.
        """
        from hopsearch.report import write_report

        others = [compare._view] if compare is not None else []
        return write_report(self._view, format, Path(to) if to is not None else None, others)

    def export(
        self,
        to: str | Path,
        trial: int | None = None,
        format: Literal["safetensors", "onnx"] = "safetensors",
        origin: bool = False,
    ) -> Path:
        """Write the winner, or another trial's model, as ``python -m hopsearch.export`` does, and
        return its folder.

        Args:
            to: the folder: new, empty, or an earlier export.
            trial: a trial to export instead of the winner.
            format: safetensors or onnx.
            origin: whether the model card includes the search's command line and the data's
                folders.

        Raises:
            UserError: no winner or checkpoint, or a folder that cannot be written.
        """
        from hopsearch.export import write_export

        return write_export(self._view, Path(to), trial, format, origin=origin)

    def __repr__(self) -> str:
        top = self._best()
        best = (
            f", best {self._view.objective} {top.value:.4f} (trial {top.record.number})"
            if top
            else ""
        )
        return (
            f"<study {self.name}: {len(self._view.counted())} trials, {self._view.epochs} "
            f"epochs{best}>"
        )

    def _repr_html_(self) -> str:
        # Shown in notebooks: the best ten trials, without columns in which they are equal.
        shown = (
            self.trials.head(10)
            .drop(columns=["source", "started", "ended", "memory", "seed", *self._metrics()])
            .reset_index()
        )
        table = shown.to_html(index=False, na_rep="", float_format="{:.4g}".format, border=0)
        return f"<p>{repr(self)[1:-1]}</p>{table}"

    def _best(self) -> Row | None:
        """The leaderboard's first row, if it has a value."""
        rows = leaderboard(self._view)
        return rows[0] if rows and rows[0].rank else None

    def _metrics(self) -> set[str]:
        return {name for record in self._view.counted() for name in (*record.metrics, *record.peak)}


def search(
    space: str,
    data: str | Mapping[str, object] | None = None,
    trials: int = 24,
    fixed: Mapping[str, object] | None = None,
    **settings: object,
) -> Study:
    """Search a space, or resume where the same call stopped, as ``python -m hopsearch.tune`` does;
    see its --help.

    Args:
        space: a shipped space by name, or the path of a YAML file.
        data: what to train on, e.g. ``"digits"`` or a folder of images; a mapping for more:
            ``{"source": …, "image_size": 64}``. By default the task's own: for images the digits.
        trials: trials of the study in all.
        fixed: settings to fix instead of searching them, by dotted name: ``{"model.depth": 4,
            "train.epochs": 9}``.
        settings: other settings of the command line: ``sampler="gp"``, ``budget={"time": "15m"}``,
            ``storage="runs"``, ``constraint={"max_params": 5e6}``, ``trial={"gpus": 1}``, ….
            ``quiet=True`` prints nothing; what would be is logged as INFO below the logger
            ``hopsearch``, which with a level above that silences a search too.

    Returns:
        The study, its winner finished unless ``finish=False``.

    Raises:
        UserError: a setting, the space or the data is invalid.
        KeyboardInterrupt: interrupted; everything finished is saved, and the same call resumes.

    The process's environment is restored afterwards, except for the token with which Ray's
    processes authenticate.
    """
    before = dict(os.environ)
    try:
        return _search(space, data, trials, dict(fixed or {}), settings)
    finally:  # Ray's settings, including those set here, apply to this search only
        for name in os.environ.keys() - before.keys() - _KEPT:
            del os.environ[name]
        os.environ.update(before)


def _search(
    space: str,
    data: str | Mapping[str, object] | None,
    trials: int,
    fixed: dict[str, Any],
    settings: Mapping[str, object],
) -> Study:
    from hopsearch import tune  # imports Ray, which read-only use does not need
    from hopsearch.command_line.command import Interrupted
    from hopsearch.core.config import parse
    from hopsearch.orchestration.budget import modern
    from hopsearch.ray_backend.cluster import environment
    from hopsearch.tasks import task_named_by
    from hopsearch.verb_settings import TuneConfig, of_task

    environment.arrange()
    learn_from(settings.items())
    source = {"source": data} if isinstance(data, str) else dict(data or {})
    values = modern({"space": space, "data": source, "trials": trials, **settings}, "search()")
    schema = of_task(TuneConfig, task_named_by(space))
    config = parse(schema, values, "search()")
    if config.dry_run:
        hint = "Print the plan with python -m hopsearch.tune … dry_run=true"
        raise ConfigError(
            "search(): dry_run", "must be False, since a study is returned, got True", hint
        )
    try:
        folder = tune.search(config, fixed)
    except Interrupted as stop:
        raise KeyboardInterrupt(str(stop)) from None
    return Study(StudyView.open(folder, config.database))
