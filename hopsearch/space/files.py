"""Space files: shipped ones by name, user files by path, and their resolution for a given data
set.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hopsearch.core.config import brief, choices, did_you_mean, flatten
from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import FACTS, Value, When, holds, is_fact, shown
from hopsearch.space.parameters import Parameter
from hopsearch.space.schema import DEFAULT_TASK, Parts, read_parts
from hopsearch.space.space import Space
from hopsearch.space.structure import parents_first, settle
from hopsearch.space.yaml_places import Where, read_source

_SUFFIXES = (".yaml", ".yml")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpaceFile:
    """A search space as written: parameters may have alternatives that depend on facts about the
    data.

    Args:
        name: ``imixer`` of ``search_spaces/imixer.yaml``.
        source: name of the file in error messages.
        parts: its contents.
    """

    name: str
    source: str
    parts: Parts

    def resolve(self, facts: Mapping[str, object]) -> Space:
        """The space for one data set: chooses alternatives and drops parameters whose condition on
        the data fails.

        Args:
            facts: of the data, flat (``data.image_size``) or nested; extra keys are ignored.

        Raises:
            SpaceError: a condition needs a missing fact, an alternative can never be used because
                the chosen one depends on more than the data, or the result is not a valid space.
        """
        known = {name: value for name, value in flatten(facts).items() if is_fact(name)}
        chosen: dict[str, Parameter] = {}
        for name, alternatives in self.parts.parameters.items():
            place = Where(self.source, ("parameters", name))
            fitting = [
                (turn, one)
                for turn, one in enumerate(alternatives, start=1)
                if _fits(one.when, known, place)
            ]
            if fitting:
                chosen[name] = fitting[0][1]
            for turn, other in fitting[1:]:
                _refuse_unused(chosen[name].when, other.when, place / turn)
        names = [*self.parts.parameters, *self.parts.fixed, *known]
        ordered = parents_first(chosen, dict.fromkeys(names), self.source)
        parameters, _ = settle(ordered, {**self.parts.fixed, **known}, {})
        return Space(
            parameters=parameters,
            fixed=self.parts.fixed,
            first=self._points(known, parameters),
            objective=self.parts.objective,
            direction=self.parts.direction,
            fidelity=self.parts.fidelity,
            task=self.parts.task,
            source=self.source,
        )

    def _points(
        self, known: Mapping[str, object], parameters: Mapping[str, Parameter]
    ) -> list[dict[str, Value]]:
        dropped = self.parts.parameters.keys() - parameters.keys()
        points = []
        for number, (when, point) in enumerate(self.parts.first, start=1):
            if _fits(when, known, Where(self.source, ("first", number))):
                points.append({name: value for name, value in point.items() if name not in dropped})
        return points


def list_spaces() -> tuple[str, ...]:
    """Names of the shipped search spaces."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.yaml")))


def about_space(name: str) -> str:
    """The description of a shipped space: the first line of its file."""
    first = (_shipped() / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").rstrip()


def load_space(name_or_path: str | Path) -> SpaceFile:
    """Read a shipped search space by its name, from any directory, or a user's by the path of its
    YAML file.

    Args:
        name_or_path: ``imixer``, or a path: it ends in .yaml or .yml, or contains a directory.

    Raises:
        SpaceError: unknown name, unreadable file, invalid YAML, or invalid contents.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        return _read(path, text)
    if text not in list_spaces():
        hint = choices(text, list_spaces())
        raise SpaceError(
            "command line: space",
            f"unknown search space, got {brief(text)}",
            f"{hint}; or set the path of a YAML file",
        )
    return _read(_shipped() / f"{text}.yaml", f"search_spaces/{text}.yaml")


def _shipped() -> Path:
    # In a wheel the files are inside the package, in a checkout next to it.
    package = Path(__file__).parents[1]
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def _read(path: Path, name: str) -> SpaceFile:
    data, source = read_source(path, name)
    _LOG.debug("read search space %s", path)
    parts = read_parts(data, source)
    top = Where(source)
    if not parts.parameters:
        rule = "must name at least one parameter, got none"
        raise SpaceError(
            top / "parameters",
            rule,
            "Move one from fixed to parameters, or train a single model instead",
        )
    for parameter, alternatives in parts.parameters.items():
        here = top / "parameters" / parameter
        if parameter in parts.fixed:
            raise SpaceError(here, "must be fixed or searched, got both", "Drop one of the two")
        for turn, alternative in enumerate(alternatives, start=1):
            for parent, test in alternative.when.items():
                _refuse_impossible(
                    parent, test, parts, here / turn if len(alternatives) > 1 else here
                )
    for number, (when, _) in enumerate(parts.first, start=1):
        for fact in when:
            if not _may_be_known(fact, parts.task):
                rule = f"when may only depend on the data, got {fact!r}"
                raise SpaceError(top / "first" / number, rule, did_you_mean(fact, FACTS))
    return SpaceFile(path.stem, source, parts)


def _may_be_known(fact: str, task: str) -> bool:
    # What other tasks know of their data is not known here.
    return fact in FACTS if task == DEFAULT_TASK else is_fact(fact)


def _refuse_impossible(parent: str, test: object, parts: Parts, place: Where) -> None:
    """A condition that no value of its parent satisfies is a typo."""
    alternatives = parts.parameters.get(parent, ())
    for one in test if isinstance(test, list) else [test]:
        if alternatives and not any(alternative.can_pass(one) for alternative in alternatives):
            rule = f"when must allow a value that {parent} can take, got {shown(one)}"
            raise SpaceError(place, rule, f"{parent} is {alternatives[0].describe()}")


def _refuse_unused(taken: When, other: When, place: Where) -> None:
    """If the chosen alternative depends on more than the data, the other alternatives that fit the
    data were meant to be used too.
    """
    waits = {parent: test for parent, test in taken.items() if not is_fact(parent)}
    if waits and waits != {parent: test for parent, test in other.items() if not is_fact(parent)}:
        rule = (
            f"is never used: alternatives may only differ by conditions on the data, and the "
            f"chosen one has when {shown(waits)}"
        )
        raise SpaceError(
            place, rule, "Write one range for all cases, or search them in separate studies"
        )


def _fits(when: When, known: Mapping[str, object], place: Where) -> bool:
    """Whether the tests of a condition on the data pass."""
    asked = {fact: test for fact, test in when.items() if fact in known or fact in FACTS}
    for fact in asked:
        if fact not in known:
            given = ", ".join(sorted(known)) or "nothing"
            raise SpaceError(
                place,
                f"{fact} must be known to decide its condition, got {given}",
                "Use one of these facts of the data, or remove the condition",
            )
    return holds(asked, known)
