"""A study's identity: its space, data, recipe and seed, stored in it and compared with a command's
settings.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from hopsearch.core.errors import StudyError
from hopsearch.core.metrics import Metric, metrics_from
from hopsearch.core.redaction import redact_all
from hopsearch.data import DataConfig
from hopsearch.data.comparison import data_difference, kept
from hopsearch.space import DEFAULT_TASK, SPACE_KEYS, Space, items_of, stored
from hopsearch.study.record.format_version import FORMAT, require_format
from hopsearch.tasks.images.classification_metrics import METRICS

# studies record the recipe's own name; its original meaning has a separate name since
_RENAMED = {"paper": "paper-v1"}
_WENT = " (direction={0} continues it)"  # once, no direction meant maximize, whatever the metric
_CONTINUES = " (recipe=paper meant {0} when the study was made; recipe={0} continues it)"


@dataclasses.dataclass(frozen=True)
class Identity:
    """The identity of a study; a command that differs in any field is rejected.

    Attributes:
        name: the study's name.
        space: the resolved search space, command-line overrides included; without an objective of
            its own it gets the task's first metric.
        data: what the trials are trained on: source, image size, fingerprint of the split.
        recipe: the recipe under the trials' own values.
        constraint: hard limits on a configuration's cost.
        seed: the study's seed; every sampler's and trial's seed follows from it.
        origin: versions of packages and code, and the command; informational, not compared.
    """

    name: str
    space: Space
    data: dict[str, Any]
    recipe: str
    constraint: dict[str, Any]
    seed: int
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        first = self.metrics[0]
        space = self.space.with_objective(first.name, first.direction)
        object.__setattr__(self, "space", space)

    @functools.cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """What the epochs of its trials report, as the study itself has it noted: a study is read
        without its task's code. Those that do not note it are of images.
        """
        noted = self.origin.get("metrics")
        return metrics_from(noted) if noted else METRICS

    @property
    def items(self) -> str:
        """What its data are called in sentences."""
        return items_of(self.space.task)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, without passwords of the command line."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {"data": kept(self.data)}
        return values | {
            "space": self.space.to_dict() | {"objective": stored(self.space.objective)},
            "origin": redact_all(self.origin),
            "format": list(FORMAT),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Identity":
        """The inverse of `to_dict`; fields added by a newer version of the same format are
        ignored.

        Raises:
            StudyError: of a newer format.
        """
        require_format(values, f"study {values.get('name', '')}".strip())
        known = {
            field.name: values[field.name]
            for field in dataclasses.fields(cls)
            if field.name in values
        }
        space = {name: part for name, part in values["space"].items() if name in SPACE_KEYS}
        known["recipe"] = _RENAMED.get(values["recipe"], values["recipe"])
        return cls(
            **{
                **known,
                "space": Space.from_dict(space),
                "origin": redact_all(values.get("origin", {})),
            }
        )

    def difference(self, other: "Identity") -> list[str]:
        """One line per difference from ``other``; empty if both are the same study."""
        same = self.space.objective == other.space.objective
        went = _WENT.format(other.space.direction) if same else ""
        lines = [
            line + went if line.startswith("direction: ") else line
            for line in self.space.difference(other.space)
        ]
        lines += data_difference(self.data, other.data)
        ours = self.constraint
        theirs = other.constraint
        keys = sorted(set(ours) | set(theirs))
        lines += [
            f"constraint.{key}: {ours.get(key)} != {theirs.get(key)}"
            for key in keys
            if ours.get(key) != theirs.get(key)
        ]
        for name in ("recipe", "seed"):
            if getattr(self, name) != getattr(other, name):
                note = (
                    _CONTINUES.format(other.recipe)
                    if name == "recipe" and other.recipe in _RENAMED.values()
                    else ""
                )
                lines.append(f"{name}: {getattr(self, name)} != {getattr(other, name)}{note}")
        return lines

    def require_same(self, begun: "Identity", place: str) -> None:
        """Refuse to resume a study with different settings.

        Args:
            begun: what the study is.
            place: its folder, the start of the error message.

        Raises:
            StudyError: the two differ; the message lists how.
        """
        if lines := self.difference(begun):
            rule = f"settings differ from the saved study (requested != saved): {'; '.join(lines)}"
            raise StudyError(place, rule, "Use another name, study=<name>, or revert the change")

    def require_images(self, place: str) -> None:
        """Refuse a study of another task, for a verb that knows images only.

        Raises:
            StudyError: its trials train another task.
        """
        if self.space.task != DEFAULT_TASK:
            rule = f"must be a study of images, got one of task {self.space.task}"
            hint = "Train it longer with hopsearch.tune and fidelity.max_epochs, in a new study"
            raise StudyError(place, rule, hint)

    def require_data(self, asked: Mapping[str, Any], place: str) -> None:
        """Refuse different images, or a different split, when a study's trial is retrained or
        measured again.

        Args:
            asked: as of `hopsearch.data.comparison.data_identity`.
            place: the start of the error message.

        Raises:
            StudyError: the two differ; the message lists how.
        """
        if lines := data_difference(asked, self.data):
            known = self.origin.get("data", {})
            fields = DataConfig.model_fields.items()
            split = {
                name: known[name]
                for name, field in fields
                if name in known and known[name] != field.default
            }
            settings = ", ".join(
                f"data.{name}={json.dumps(value).strip(chr(34))}" for name, value in split.items()
            )
            rule = (
                f"the data differ from those of study {self.name} (requested != the study's): "
                f"{'; '.join(lines)}"
            )
            hint = "Leave data.* out: they come from the study, and its test images stay unseen"
            hint += f". They are {settings}" if split else ""
            raise StudyError(place, rule, hint)
