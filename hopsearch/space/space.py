"""A search space: parameters, their conditions, and fixed values."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from hopsearch.core.config import did_you_mean, flatten
from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import Value, holds, passes, same, shown
from hopsearch.space.fidelity import Fidelity
from hopsearch.space.objectives import Objective, read_objectives, renamed
from hopsearch.space.parameters import Parameter
from hopsearch.space.schema import DEFAULT_TASK, read_parts
from hopsearch.space.structure import count, expand, parents_first, settle
from hopsearch.space.yaml_places import Where

Suggest = Callable[[str, Parameter], Value]
"""Chooses a value for a parameter, e.g. a sampler or a grid."""


@dataclass(frozen=True)
class Space:
    """Parameters, ordered so that parents of conditions come first, and fixed values.

    Args:
        parameters: dotted name to parameter, in any order.
        fixed: dotted name to value, part of every configuration.
        first: points to try first; each may omit parameters.
        objective: the metric that a trial reports; several as ``val_acc,n_params`` (see
            `hopsearch.space.objectives`). Empty until the task is known, whose own it is then.
        direction: ``maximize`` or ``minimize``; several as ``maximize,minimize``.
        fidelity: epochs and rungs.
        task: what trials train, see `hopsearch.tasks.find_task`.
        source: origin of the space, the start of its error messages; not part of its identity.

    Raises:
        SpaceError: a parameter is also fixed, a condition names an unknown parameter or is
            circular, or a first point is outside the space.
    """

    parameters: Mapping[str, Parameter]
    fixed: Mapping[str, object] = field(default_factory=dict)
    first: Sequence[Mapping[str, Value]] = ()
    objective: str = ""
    direction: str = ""
    fidelity: Fidelity = field(default_factory=Fidelity)
    task: str = DEFAULT_TASK
    source: str = field(default="space", compare=False)

    def __post_init__(self) -> None:
        if self.objective:
            object.__setattr__(self, "direction", self.direction or "maximize")
            read_objectives(self.objective, self.direction, self.source)
            object.__setattr__(self, "objective", renamed(self.objective))
        for name in self.parameters:
            if name in self.fixed:
                raise SpaceError(
                    self._where(name), "must be fixed or searched, got both", "Drop one of the two"
                )
        object.__setattr__(
            self, "parameters", parents_first(self.parameters, self.fixed, self.source)
        )
        object.__setattr__(self, "fixed", dict(self.fixed))
        object.__setattr__(self, "first", tuple(dict(point) for point in self.first))
        for number, point in enumerate(self.first, start=1):
            self.check(point, complete=False, place=Where(self.source, ("first", number)))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives, the metric reported every epoch first."""
        return read_objectives(self.objective, self.direction, self.source)

    def with_objective(self, name: str, direction: str) -> "Space":
        """The space with this objective, where it names none of its own."""
        if self.objective:
            return self
        return replace(self, objective=name, direction=self.direction or direction)

    @property
    def conditional(self) -> bool:
        """Whether any parameter is conditional."""
        return any(parameter.when for parameter in self.parameters.values())

    @property
    def size(self) -> int | None:
        """The number of configurations, or None if a real number without step makes it infinite."""
        return count(list(self.parameters.items()), self.fixed)

    @property
    def fingerprint(self) -> str:
        """A hash of everything except the first points: equal if two spaces define the same
        search.
        """
        text = json.dumps(self._identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def walk(self, suggest: Suggest) -> dict[str, object]:
        """Build a configuration by calling ``suggest`` for each active parameter, parents first.

        Args:
            suggest: called with (name, parameter), returns the value.

        Returns:
            The fixed values and one value for each active parameter, flat, with dotted names.

        Raises:
            SpaceError: a suggested value is outside its parameter.
        """
        config = dict(self.fixed)
        for name, parameter in self.parameters.items():
            if holds(parameter.when, config):
                value = suggest(name, parameter)
                self._check_value(self._where(name), name, value)
                config[name] = parameter.normalise(value)
        return config

    def draw(self, random: Random) -> dict[str, object]:
        """A random configuration: each active parameter is drawn uniformly, in the logarithm with
        ``log``.
        """
        return self.walk(lambda _, parameter: parameter.draw(random))

    def grid(self) -> Iterator[dict[str, object]]:
        """All configurations, including fixed values, in the order of the file.

        Raises:
            SpaceError: a real number has no step, so there is no grid.
        """
        for name, parameter in self.parameters.items():
            if parameter.values() is None:
                rule = f"must have a step for a grid, got {parameter.describe()}"
                raise SpaceError(
                    self._where(name), rule, "Add a step, list choices, or use another sampler"
                )
        return expand(list(self.parameters.items()), self.fixed)

    def active(self, config: Mapping[str, object]) -> tuple[str, ...]:
        """Names of the parameters that matter in ``config``, parents first; a child of an inactive
        parent is inactive.
        """
        known = dict(self.fixed)
        names = []
        for name, parameter in self.parameters.items():
            if holds(parameter.when, known):
                names.append(name)
                if name in config:
                    known[name] = config[name]
        return tuple(names)

    def check(
        self, point: Mapping[str, object], complete: bool = True, place: Where | None = None
    ) -> None:
        """Check that a configuration, or a point to try first, is inside the space.

        Args:
            point: flat configuration; may contain fixed values.
            complete: every active parameter must have a value.
            place: start of an error message; by default the space's source.

        Raises:
            SpaceError: an unknown name, a value outside its range, a value for an inactive
                parameter, or a missing value.
        """
        place = place or Where(self.source)
        for name, value in point.items():
            self._check_value(place / name, name, value)
        for name, parameter in self.parameters.items():
            blocker = self._blocker(name, point, complete)
            if blocker and name in point:
                value = point.get(blocker, self.fixed.get(blocker))
                state = shown(value) if blocker in point or blocker in self.fixed else "left out"
                rule = f"must be left out when {blocker} is {state}, got {shown(point[name])}"
                raise SpaceError(place / name, rule, f"Drop it, or change {blocker}")
            if complete and not blocker and name not in point:
                raise SpaceError(place / name, "is required", f"Set {parameter.describe()}")

    def override(self, values: Mapping[str, object]) -> "Space":
        """Fix values, as the command line does.

        A parameter with a given value is no longer searched; if it has a condition, the value is
        used when the condition holds. Parameters that can no longer become active are dropped.
        Unknown names become fixed values. First points are reduced to the remaining parameters; a
        point that contradicts a value on which conditions depend (another family) is dropped.

        Args:
            values: dotted names (or nested mappings) to values; they may be outside the searched
                ranges.
        """
        given = flatten(values)
        parents = {parent for parameter in self.parameters.values() for parent in parameter.when}
        parameters, settled = settle(self.parameters, self.fixed, given)
        space = replace(self, parameters=parameters, fixed={**self.fixed, **settled}, first=())
        points: list[dict[str, Value]] = []
        for point in self.first:
            left = space._part_of(point)
            fits = all(
                name not in given or same(point[name], given[name])
                for name in parents & point.keys()
            )
            if fits and left not in points:
                points.append(left)
        return replace(space, first=points)

    def canonical(self, config: Mapping[str, object]) -> str:
        """A stable JSON text of the active parameters' values: equal for identical trials."""
        values = {
            name: self.parameters[name].normalise(config[name]) for name in self.active(config)
        }
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    def difference(self, other: "Space") -> list[str]:
        """The differences between two spaces, one line per name; empty if the fingerprints
        agree.
        """
        mine = self._labels()
        theirs = other._labels()
        names = [*mine, *(name for name in theirs if name not in mine)]
        return [
            f"{name}: {mine.get(name, 'not there')}, in the other {theirs.get(name, 'not there')}"
            for name in names
            if mine.get(name) != theirs.get(name)
        ]

    def to_dict(self) -> dict[str, object]:
        """Plain JSON data, in the form of a space's YAML file; `from_dict` reads it."""
        return {**self._identity(), "first": [dict(point) for point in self.first]}

    @classmethod
    def from_dict(cls, data: Mapping[str, object], source: str = "space") -> "Space":
        """The inverse of `to_dict`.

        Raises:
            SpaceError: ``data`` is not a space, or has alternatives that depend on facts about the
                data.
        """
        parts = read_parts(data, source)
        for name, alternatives in parts.parameters.items():
            if len(alternatives) > 1:
                rule = f"must be unambiguous, got {len(alternatives)} alternatives"
                raise SpaceError(
                    Where(source, ("parameters", name)),
                    rule,
                    "Resolve the space with facts about the data first",
                )
        return cls(
            parameters={name: parameter for name, (parameter,) in parts.parameters.items()},
            fixed=parts.fixed,
            first=[point for _, point in parts.first],
            objective=parts.objective,
            direction=parts.direction,
            fidelity=parts.fidelity,
            task=parts.task,
            source=source,
        )

    def _identity(self) -> dict[str, object]:
        # Not said of images: studies that were begun before there were tasks do not say it.
        task = {} if self.task == DEFAULT_TASK else {"task": self.task}
        aims = {"objective": self.objective, "direction": self.direction}
        return {
            **task,
            **{name: word for name, word in aims.items() if word},
            "fidelity": self.fidelity.to_dict(),
            "fixed": dict(self.fixed),
            "parameters": {
                name: parameter.to_dict() for name, parameter in self.parameters.items()
            },
        }

    def _labels(self) -> dict[str, str]:
        labels = {"task": self.task, "objective": self.objective, "direction": self.direction}
        labels |= {f"fidelity.{key}": str(value) for key, value in self.fidelity.to_dict().items()}
        labels |= {name: f"fixed to {shown(value)}" for name, value in self.fixed.items()}
        for name, parameter in self.parameters.items():
            labels[name] = parameter.describe() + (
                f" when {shown(parameter.when)}" if parameter.when else ""
            )
        return labels

    def _where(self, name: str) -> Where:
        return Where(self.source, ("parameters", name))

    def _check_value(self, place: Where, name: str, value: object) -> None:
        if name in self.parameters:
            parameter = self.parameters[name]
            if not parameter.contains(value):
                raise SpaceError(
                    place,
                    f"must be {parameter.describe()}, got {shown(value)}",
                    "Change the value or widen the range",
                )
        elif name not in self.fixed:
            raise SpaceError(
                place, "unknown parameter", did_you_mean(name, [*self.parameters, *self.fixed])
            )
        elif not same(value, self.fixed[name]):
            raise SpaceError(
                place,
                f"is fixed to {shown(self.fixed[name])}, got {shown(value)}",
                "Leave it out of the point",
            )

    def _blocker(self, name: str, point: Mapping[str, object], complete: bool) -> str | None:
        """The parent that keeps ``name`` inactive in ``point``; in a partial point, an omitted
        parent may still get any value.
        """
        for parent, test in self.parameters[name].when.items():
            if parent in self.fixed or parent in point:
                if not passes(test, self.fixed.get(parent, point.get(parent))):
                    return parent
            elif complete or self._blocker(parent, point, complete):
                return parent
        return None

    def _part_of(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """The subset of ``point`` that this space can still use."""
        left = {
            name: value
            for name, value in point.items()
            if name in self.parameters and self.parameters[name].contains(value)
        }
        # parents first: a removed parent blocks its children
        for name in self.parameters:
            if name in left and self._blocker(name, left, complete=False):
                del left[name]
        return left
