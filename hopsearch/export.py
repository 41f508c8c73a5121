"""``python -m hopsearch.export study=<name> to=<folder> [key=value …]``: a study's winner as a
model that others can load.

    python -m hopsearch.export study=imixer-digits to=model
    python -m hopsearch.export study=imixer-digits to=model.onnx format=onnx

Writes safetensors, config.json, a model card and modeling.py, with which torch and timm alone load
it; or, with format=onnx, an ONNX file that is checked with ONNX Runtime. Spectral norms are folded
into the weights.
"""

from hopsearch.command_line import manual, utf8
from hopsearch.core import paths
from hopsearch.core.atomic_writes import filled_whole

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("export")  # before the imports: they take seconds

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hopsearch.artifact import (
    Provenance,
    config_of,
    load_model,
    model_card,
    read_config,
    write_folder,
    write_onnx,
)
from hopsearch.artifact.folder import CARD, CONFIG, GRAPH, ModelFile, require_free, write_config
from hopsearch.artifact.graph import require_onnx
from hopsearch.command_line.command import run_as_program
from hopsearch.command_line.words import read_words
from hopsearch.core.config import Settings, flatten, parse
from hopsearch.core.errors import StudyError
from hopsearch.core.study_names import Name
from hopsearch.models import Mixer, build, fold
from hopsearch.reporting.terminal.console import make_console
from hopsearch.space import DEFAULT_TASK
from hopsearch.storage.mirror import Mirror, Place
from hopsearch.study import StudyView, TrialRecord
from hopsearch.study.record.journal_keys import ELECTION
from hopsearch.study.significance import winner_verdicts
from hopsearch.study.winner_choice import election_words
from hopsearch.tasks.images.classification_metrics import ACCURACY, BALANCED_ACCURACY, LOSS
from hopsearch.tasks.images.classifier_config import ImageTrialConfig
from hopsearch.training import CheckpointFolder


class ExportConfig(Settings):
    """What to export, and where to."""

    study: Name
    """Name of the study: its folder below `storage`."""
    to: str
    """Folder to write: new, empty, or of an earlier export."""
    trial: int | None = None
    """Another trial than the winner, whose weights the search kept (checkpoint.keep). Its test
    accuracy is not read.
    """
    format: Literal["safetensors", "onnx"] = "safetensors"
    """safetensors with config and code, or one onnx file."""
    storage: str = "runs"
    """Folder of the studies, or a storage, e.g. s3://bucket/path."""
    database: str | None = None
    """Optuna storage URL, where the study was searched with one."""
    origin: bool = False
    """Put the search's command line and the data's folders into the model card; by default a card
    names no path of yours.
    """


def write_export(
    view: StudyView,
    to: Path,
    number: int | None = None,
    format: str = "safetensors",
    place: Place | None = None,
    origin: bool = False,
) -> Path:
    """Write a study's winner, or another of its trials, and return the folder.

    Args:
        view: the study.
        to: the folder: new, empty, or of an earlier export.
        number: the trial; None for the winner.
        format: safetensors or onnx.
        place: where the study's files can be brought from, if they may not be here.
        origin: whether the model card tells the search's command line and the data's folders.

    Raises:
        UserError: no such trial, no winner yet, no checkpoint, or a folder that cannot be written.
    """
    target = to.expanduser().absolute()
    require_free(target)
    place = place or Place(view.folder)
    if view.identity.space.task != DEFAULT_TASK:
        return _copy_winner(view, target, number, format, place)
    model, trial, results = _winner(view, place) if number is None else _trial(view, place, number)
    crop_pct = float(view.identity.origin.get("data", {}).get("crop_pct", 1.0))
    about = config_of(
        trial.model, _classes(view), json.loads(trial.model_dump_json()), crop_pct=crop_pct
    )
    card = model_card(
        _provenance(view, view.records[results["trial"]], results, origin),
        about,
        onnx=format == "onnx",
    )
    folded = fold(model).eval()
    if format == "onnx":
        _write_onnx(target, folded, about, card)
    else:
        write_folder(target, folded, about, card)
    return target


def _copy_winner(
    view: StudyView, target: Path, number: int | None, format: str, place: Place
) -> Path:
    """What a task of the user's own has published is what is exported."""
    if number is not None or format != "safetensors":
        asked = f"trial={number}" if number is not None else f"format={format}"
        rule = f"task {view.identity.space.task} exports its winner as safetensors, got {asked}"
        raise StudyError(str(view.folder), rule, "Leave it out")
    folder = _winner_folder(view, place)
    with filled_whole(target) as scratch:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
    return target


def _winner_folder(view: StudyView, place: Place) -> Path:
    if view.winner is None:
        hint = "Let the search finish, with finish=true, or set trial=<number>"
        raise StudyError(str(view.folder), "an export needs a finished winner, got none", hint)
    name = str(view.winner["folder"])
    folder = view.folder / name
    if place.remote:
        Mirror(place.below(name)).pull(folder)
    return folder


def _winner(view: StudyView, place: Place) -> tuple[Mixer, ImageTrialConfig, dict[str, Any]]:
    folder = _winner_folder(view, place)
    assert view.winner is not None
    model = load_model(folder)
    trial = ImageTrialConfig.model_validate(read_config(folder)["hopsearch"]["trial"])
    _require_trial(view.records[view.winner["trial"]], trial, folder)
    return model, trial, view.winner


def _trial(
    view: StudyView, place: Place, number: int
) -> tuple[Mixer, ImageTrialConfig, dict[str, Any]]:
    record = view.records.get(number)
    if record is None:
        raise StudyError(
            str(view.folder),
            f"must have trial {number}",
            f"It has 0 to {max(view.records, default=0)}",
        )
    folder = view.folder / paths.trial(number)
    if place.remote:
        Mirror(place.below(str(paths.trial(number)))).pull(folder)
    best = CheckpointFolder(folder).load_best()
    if best is None:
        raise _no_weights(view, record, folder)
    trial = ImageTrialConfig.model_validate_json(best["config"])
    _require_trial(record, trial, folder)
    model = build(trial.model)
    averaged = best["ema"]  # the moving average is what was evaluated, where there is one
    weights = {
        name.removeprefix("module."): value
        for name, value in (averaged or best["model"]).items()
        if name != "n_averaged"
    }
    model.load_state_dict(weights)
    if averaged:
        # an older version's average has the live model's singular vectors beside it
        model.settle_norms()
    row = best["history"][-1]
    results = {
        metric.name: row[metric.name]
        for metric in (ACCURACY, BALANCED_ACCURACY, LOSS)
        if metric.name in row
    }
    finished = view.winner["epochs"] if view.winner and view.winner["trial"] == number else 0
    # a winner, or one that was becoming it, was trained on after the search
    epochs = max(record.epoch, best["epoch"], finished)
    return (
        model.eval(),
        trial,
        results | {"trial": number, "epoch": best["epoch"], "epochs": epochs},
    )


def _require_trial(record: TrialRecord, trial: ImageTrialConfig, folder: Path) -> None:
    # A folder that was copied, or is left from another study of that name: its weights would go out
    # under this study's numbers.
    found = flatten(json.loads(trial.model_dump_json()))
    wrong = [
        f"{key}: {found[key]} != {value}"
        for key, value in record.config.items()
        if key in found and found[key] != value
    ]
    if wrong:
        rule = (
            f"the weights must be those of trial {record.number}, got (theirs != the trial's) "
            f"{'; '.join(wrong)}"
        )
        raise StudyError(
            str(folder),
            rule,
            "Remove the folder, then run the search again or restore the study's own copy",
        )


def _no_weights(view: StudyView, record: TrialRecord, folder: Path) -> StudyError:
    if not record.state.ended and not record.curve:
        return StudyError(
            str(folder), "the trial must have trained an epoch, got none", "Wait for it"
        )
    why = (
        "none: deleted when it ended, by checkpoint.keep or checkpoint.quota"
        if record.number in view.dropped
        else "none"
    )
    again = f"python -m hopsearch.train from={view.identity.name}#{record.number} retrains it"
    held = f"Weights are kept for trials {', '.join(map(str, view.kept))}; " if view.kept else ""
    return StudyError(str(folder), f"the trial's weights must exist, got {why}", f"{held}{again}")


def _classes(view: StudyView) -> list[str]:
    known: list[str] = view.identity.origin.get("classes", [])
    winner = view.folder / paths.WINNER / CONFIG  # studies begun before the names were kept in them
    return known or (
        read_config(winner.parent)["pretrained_cfg"].get("label_names", [])
        if winner.is_file()
        else []
    )


def _provenance(
    view: StudyView, record: TrialRecord, results: dict[str, Any], paths: bool
) -> Provenance:
    origin = dict(view.identity.origin)
    asked = origin.pop("data", {})
    images = origin.pop("images", {})
    for name in ("classes", "val_by_class", "metrics"):
        origin.pop(name, None)
    cost = {
        **record.cost,
        "seconds of the trial's epochs in the search": round(record.seconds, 1),
        "epochs after the search": results.get("finish_epochs", 0) or None,
        "seconds of the epochs after the search": results.get("finish_seconds", 0) or None,
        "seconds of the search": view.seconds,
        "trials of the search": len(view.counted()),
        "epochs of the search": view.epochs,
    }
    cost.pop("memory", None)
    data = {**asked, **view.identity.data}
    if not paths:
        origin.pop("command", None)
        data = {
            key: name_of(value) if isinstance(value, str) else value for key, value in data.items()
        }
    verdicts = _verdicts(view, results, images) if ACCURACY.of_test in results else []
    if ACCURACY.of_test in results and (
        how := election_words(view.optuna.user_attrs.get(ELECTION), view.identity.items)
    ):
        verdicts.insert(0, how)
    return Provenance(
        view.identity.name,
        record.number,
        view.identity.seed,
        results,
        data,
        images,
        cost,
        origin,
        verdicts,
    )


def _verdicts(view: StudyView, results: dict[str, Any], images: dict[str, int]) -> list[str]:
    return winner_verdicts(results, images, _classes(view), view.identity.metrics)


def name_of(text: str) -> str:
    """A setting for others to read: of a path its last part, of ``cifar10:<folder>`` the set's
    name.
    """
    if "/" not in text and os.sep not in text:
        return text
    name, colon, _ = text.partition(":")
    return name if colon and "/" not in name and os.sep not in name else Path(text).name


def _write_onnx(target: Path, model: Mixer, about: ModelFile, card: str) -> None:
    require_onnx()
    with filled_whole(target) as scratch:
        write_onnx(model, scratch / GRAPH, about)
        write_config(scratch, about)
        (scratch / CARD).write_text(card, encoding="utf-8")


def main(words: Sequence[str]) -> None:
    """Read the command line and export."""
    config = parse(ExportConfig, read_words(words, ExportConfig), "command line")
    # before anything is brought from a storage
    require_free(Path(config.to).expanduser().absolute())
    place = Place.of(config.storage, config.study)
    place.bring_journal()
    view = StudyView.open(place.folder, config.database)
    target = write_export(view, Path(config.to), config.trial, config.format, place, config.origin)
    make_console(name=__name__).print(
        f"exported to {target}: {', '.join(sorted(file.name for file in target.iterdir()))}",
        markup=False,
    )


if __name__ == "__main__":
    run_as_program(main, ExportConfig, __doc__ or "")
