"""The study in TensorBoard: one run per trial, plus one for the study, under
``<study>/tensorboard/``.

The event files are output only: after a restart the runs of unfinished trials are rewritten from
the trials' own records, so a curve has neither gaps nor duplicate points.
"""

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import custom_scalars
from torch.utils.tensorboard.summary import text as text_summary

from hopsearch.core import paths
from hopsearch.space import DEFAULT_TASK, Categorical, Float, Int, Parameter, Space
from hopsearch.study.reader import StudyView
from hopsearch.study.record.trial import State, TrialRecord
from hopsearch.study.report_history import chronicle

_DONE = ".final"  # marks a complete run of an ended trial


class EventFile:
    """One TensorBoard run, written synchronously: what is flushed survives a SIGKILL."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}"
        self._writer = RecordWriter((folder / name).open("wb"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(
        self, step: int, values: Mapping[str, float], wall_time: float | None = None
    ) -> None:
        """Add one point to each tag."""
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self.summary(Summary(value=points), step, wall_time)

    def summary(self, summary: Summary, step: int = 0, wall_time: float | None = None) -> None:
        """Add any summary."""
        self._write(Event(wall_time=wall_time or time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Pass buffered data to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())


class Board:
    """Writes the study's runs during the search.

    Args:
        view: the study; incomplete runs of finished trials are rewritten from it.
    """

    def __init__(self, view: StudyView) -> None:
        self._view = view
        self._folder = view.folder / paths.TENSORBOARD
        self._runs: dict[int, EventFile] = {}
        self._written: dict[int, int] = {}
        self._later: dict[int, float] = {}  # the best value of each trial after the search
        self._drawn: dict[int, set[int]] = {}
        self._study = self._fresh("study")
        self._study.summary(_experiment(view.identity.space, view.objective))
        about = {key: value for key, value in view.identity.to_dict().items() if key != "space"}
        self._study.summary(_layout(view.objective, view.identity.space.task == DEFAULT_TASK))
        self._study.summary(text_summary("study", _as_text(about)))
        self._study.summary(text_summary("space", _as_text(view.identity.space.to_dict())))
        self._best: float | None = None  # of the trials that have ended
        self._top: float | None = None  # of all reports
        self._ended = 0
        self._judged = 0  # number of rung judgements written
        valued = {record.number for record in view.ranked()}
        for report in chronicle(view):
            if report.number in valued:
                self._rise(report.value, report.epochs)
        for record in sorted(view.counted(), key=lambda record: record.ended):
            if record.state.ended:
                self._rewrite_if_cut_off(record)
                self._advance(record)
        self._judge()
        self._study.flush()

    def begin(self, record: TrialRecord) -> None:
        """Start or restart a trial's run: its parameters for the HParams tab, its whole config as
        text.
        """
        if record.number in self._runs:
            self._runs.pop(record.number).close()
        run = self._runs[record.number] = self._fresh(_name(record))
        self._written[record.number] = 0
        self._drawn[record.number] = set()
        self._later.pop(record.number, None)
        started = record.started or time.time()
        run.summary(
            summary_v2.hparams_pb(
                _plain(record.params), trial_id=_name(record), start_time_secs=started
            )
        )
        run.summary(
            text_summary("config", _as_text(record.config | {"seed": record.seed, **record.cost}))
        )
        run.flush()

    def rows(self, record: TrialRecord, rows: Iterable[Mapping[str, float]]) -> None:
        """Add epochs to a trial's run; existing ones are skipped."""
        if record.number not in self._runs:
            self.begin(record)
        run = self._runs[record.number]
        for row in rows:
            epoch = int(row["epoch"])
            if epoch <= self._written[record.number]:
                continue
            values = {tag_of(name): value for name, value in row.items() if name != "epoch"}
            if (best := self._best_so_far(record, epoch, row)) is not None:
                values[f"best/{self._view.objective}"] = best
            run.scalars(epoch, values)
            self._written[record.number] = epoch
        run.flush()
        self._judge()
        if (known := record.best(self._view.sign)) is not None and record.state != State.FAILED:
            self._rise(known[1], self._reported)

    def pictures(self, record: TrialRecord, drawn: Mapping[int, Mapping[str, str]]) -> None:
        """Add pictures to a trial's run, by epoch and tag, PNG in base64; existing epochs are
        skipped.
        """
        if record.number not in self._runs:
            self.begin(record)
        known = self._drawn[record.number]
        for epoch in sorted(set(drawn) - known):
            self._runs[record.number].summary(
                Summary(value=[_image(*picture) for picture in drawn[epoch].items()]), epoch
            )
            known.add(epoch)
        self._runs[record.number].flush()

    def end(self, record: TrialRecord) -> None:
        """Close a trial's run with its status, and extend the study's own curves."""
        if (
            record.number not in self._runs
        ):  # it was paused, and another process had written its run
            self._from_study(record)
        self._close(record)
        self._advance(record)
        self._judge()
        self._study.flush()

    def close(self) -> None:
        """Close all files."""
        self._judge()
        if self._top is not None:
            self._study.scalars(self._reported, {self._by_epochs: self._top})
        for number, run in list(self._runs.items()):
            record = self._view.records[number]
            # the winner, which was trained further after the search
            if record.state not in (State.RUNNING, State.PAUSED):
                self._close(record)
            else:
                run.close()
        self._study.close()
        self._runs.clear()

    def _fresh(self, name: str) -> EventFile:
        folder = self._folder / name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        (folder / _DONE).unlink(missing_ok=True)
        return EventFile(folder)

    def _rewrite_if_cut_off(self, record: TrialRecord) -> None:
        # Killed between the study's record and the run's last line: the objective's curve is still
        # in the study.
        if not (self._folder / _name(record) / _DONE).exists():
            self._from_study(record)
            self._close(record)

    def _from_study(self, record: TrialRecord) -> None:
        self.begin(record)
        self.rows(
            record,
            [
                {"epoch": epoch, self._view.objective: value}
                for epoch, value in record.curve.items()
            ],
        )

    def _close(self, record: TrialRecord) -> None:
        run = self._runs.pop(record.number)
        status = api_pb2.STATUS_FAILURE if record.state == State.FAILED else api_pb2.STATUS_SUCCESS
        run.summary(_session_end(status, record.ended or time.time()))
        words = f"{record.state.value} after {record.epoch} epochs" + (
            f": {record.reason}" if record.reason else ""
        )
        if (epochs := self._written[record.number]) > record.epoch:
            words += f"; trained to {epochs} epochs after the search"
        run.summary(text_summary("outcome", words))
        run.close()
        (self._folder / _name(record) / _DONE).touch()

    def _advance(self, record: TrialRecord) -> None:
        self._ended += 1
        best = record.best(self._view.sign)
        if best is not None and (
            self._best is None or self._view.sign * best[1] > self._view.sign * self._best
        ):
            self._best = best[1]
        if self._best is not None:
            name = f"study/best_{self._view.objective}_by_trials"
            self._study.scalars(self._ended, {name: self._best}, record.ended or time.time())

    def _best_so_far(
        self, record: TrialRecord, epoch: int, row: Mapping[str, float]
    ) -> float | None:
        known = record.best(self._view.sign, up_to=epoch)
        values = [known[1]] if known else []
        # a winner's
        after = epoch > record.epoch and record.state not in (State.RUNNING, State.FAILED)
        if after and self._view.objective in row:
            values += [
                row[self._view.objective],
                self._later.get(record.number, row[self._view.objective]),
            ]
            self._later[record.number] = max(values, key=lambda value: self._view.sign * value)
        return max(values, key=lambda value: self._view.sign * value) if values else None

    @property
    def _by_epochs(self) -> str:
        return f"study/best_{self._view.objective}_by_epochs"

    @property
    def _reported(self) -> int:
        # from the journal, see `report_history`
        return self._view.epochs - self._view.wasted_epochs

    def _judge(self) -> None:
        new = self._view.judgements[self._judged :]
        for judgement in new:
            words = judgement.words(self._view.identity.space.fidelity.rungs)
            self._study.summary(text_summary("judgements", words), judgement.order)
        if new:
            self._judged += len(new)
            self._study.flush()

    def _rise(self, value: float, epochs: int) -> None:
        if self._top is None or self._view.sign * value > self._view.sign * self._top:
            self._top = value
            self._study.scalars(epochs, {self._by_epochs: value})
            self._study.flush()


def tag_of(metric: str) -> str:
    """The TensorBoard tag of a metric: training metrics and measures are in separate groups."""
    if "/" in metric:
        return metric
    group = {"train_loss": "train", "lr": "train", "images_per_s": "speed", "seconds": "speed"}.get(
        metric, "validation"
    )
    return f"{group}/{metric}"


def _name(record: TrialRecord) -> str:
    return f"trial_{record.number:04d}"


def _plain(params: Mapping[str, object]) -> dict[str, object]:
    # The HParams tab supports numbers, booleans and words; an inactive parameter is omitted and
    # appears as an empty cell.
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in params.items()
    }


def _as_text(values: Mapping[str, object]) -> str:
    return "```\n" + json.dumps(values, indent=2, default=str) + "\n```"


def _experiment(space: Space, objective: str) -> Summary:
    columns = [
        summary_v2.HParam(name, _domain(parameter)) for name, parameter in space.parameters.items()
    ]
    metrics = [summary_v2.Metric(f"best/{objective}", display_name=f"best {objective}")]
    return summary_v2.hparams_config_pb(columns, metrics)


_OF_CLASSES = {
    "balanced accuracy": [
        "Multiline",
        ["validation/val_balanced_acc", "validation/val_worst_recall"],
    ],
    "recall by class": ["Multiline", ["recall/.*"]],
}
_OF_MIXERS = {
    "symmetry": {
        "asymmetry": ["Multiline", ["asymmetry/(tokens|channels)/mean"]],
        "cosine of W1ᵀ and W2": ["Multiline", ["cosine/(tokens|channels)/mean"]],
        "symmetry breaking": ["Multiline", ["breaking/(tokens|channels)/mean"]],
    },
    "iteration": {
        "fixed-point residual": ["Multiline", ["fixed_point/residual/(mean|max)"]],
        "spectral norms": ["Multiline", ["spectral/fc_sn[12]/max"]],
    },
}


def _layout(objective: str, of_images: bool) -> Summary:
    # The Custom Scalars tab: related metrics in one chart, with all trials.
    search = {
        objective: ["Multiline", [tag_of(objective)]],
        f"best {objective}": ["Multiline", [f"best/{objective}"]],
        **(_OF_CLASSES if of_images else {}),
        "loss": ["Multiline", ["train/train_loss", "validation/val_loss"]],
    }
    summary: Summary = custom_scalars({"search": search, **(_OF_MIXERS if of_images else {})})
    return summary


def _image(tag: str, picture: str) -> Summary.Value:
    png = base64.b64decode(picture)
    width, height = struct.unpack(">II", png[16:24])  # of every PNG's first chunk
    return Summary.Value(
        tag=tag,
        image=Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3),
    )


def _domain(parameter: Parameter) -> summary_v2.Domain | None:
    if isinstance(parameter, Categorical):
        same_kind = len({type(choice) for choice in parameter.choices}) == 1
        return summary_v2.Discrete(list(parameter.choices)) if same_kind else None
    if isinstance(parameter, Int):
        return summary_v2.IntInterval(parameter.low, parameter.high)
    assert isinstance(parameter, Float)
    return summary_v2.RealInterval(parameter.low, parameter.high)


def _session_end(status: int, ended: float) -> Summary:
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
