"""A rival from its own package, in a process and an environment of its own, asked and told on the
simulator's terms.

    python -m venv <folder> && <folder>/bin/pip install -r benchmarks/rivals.txt

makes the environment; `--rivals-python <folder>/bin/python` names it to the benchmarks. The other
side is `packaged/serve.py`.
"""

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hopsearch.space import Categorical, Float, Int, Space
from hopsearch.space.conditions import passes
from hopsearch.space.parameters import Parameter

SERVER = Path(__file__).parent / "packaged" / "serve.py"
PACKAGED = ("syne_tune_cqr", "syne_tune_bore", "smac", "smac_own_rungs")
"""The rivals that there are."""


class PackagedRival:
    """One of `PACKAGED`, with the interface of the rivals of this process.

    Choices, and numbers on a step, are told as their places: a package need not know their types.

    Args:
        python: the interpreter of the environment that has the package.
        name: which rival.
        space: of one objective.
        seed: of the search.
        epochs: after which the search will be over, for a rival that plans with them.
    """

    def __init__(self, python: Path, name: str, space: Space, seed: int, epochs: int) -> None:
        if space.direction not in ("maximize", "minimize"):
            raise ValueError(f"a packaged rival has one objective, got {space.objective}")
        self._space = space
        self._sign = -1.0 if space.direction == "maximize" else 1.0
        self._configs: dict[int, dict[str, Any]] = {}
        # Without the path of this process: it may hold the folder of the benchmarks, whose names
        # packages have too.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # SMAC goes through sets, whose order follows from the hashes; and one thread, as for our
        # own models.
        environment |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [str(python), str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        fidelity = space.fidelity
        self._call(
            rival=name,
            parameters={
                name: _told(parameter, space) for name, parameter in space.parameters.items()
            },
            rungs=fidelity.rungs,
            reduction=fidelity.reduction,
            seed=seed,
            epochs=epochs,
        )

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Number and configuration of a trial: a new one, or one that goes on."""
        number, places = self._call(ask=None)
        if number not in self._configs:
            self._configs[number] = self._space.walk(
                lambda name, parameter: _value(parameter, places[name])
            )
        return number, self._configs[number]

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""
        return bool(self._call(report=[number, epoch, self._sign * value]))

    def fail(self, number: int) -> None:
        """The trial diverged."""
        self._call(fail=number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # it ends with its input

    def _call(self, **said: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"the rival's process ended with {self._process.wait()}; its own words are above"
            )
        return json.loads(answer)


def _told(parameter: Parameter, space: Space) -> dict[str, Any]:
    searched = {
        parent: test for parent, test in parameter.when.items() if parent in space.parameters
    }
    when = {parent: _passing(space.parameters[parent], test) for parent, test in searched.items()}
    if isinstance(parameter, Categorical):
        return {"type": "categorical", "choices": len(parameter.choices), "when": when}
    assert isinstance(parameter, Float | Int)
    values = parameter.values()
    if parameter.step is not None and values is not None:
        return {"type": "int", "low": 0, "high": len(values) - 1, "log": False, "when": when}
    return {
        "type": parameter.kind,
        "low": parameter.low,
        "high": parameter.high,
        "log": parameter.log,
        "when": when,
    }


def _passing(parent: Parameter, test: Any) -> list[int]:
    values = parent.values()
    if values is None:
        raise ValueError(
            f"a condition on a real number without step cannot be told to a rival: "
            f"{parent.describe()}"
        )
    return [
        _place(parent, place, value) for place, value in enumerate(values) if passes(test, value)
    ]


def _place(parameter: Parameter, place: int, value: Any) -> int:
    return int(value) if isinstance(parameter, Int) and parameter.step is None else place


def _value(parameter: Parameter, told: Any) -> Any:
    values = parameter.values()
    if isinstance(parameter, Categorical) or (
        isinstance(parameter, Float | Int) and parameter.step is not None
    ):
        assert values is not None
        return values[told]
    if isinstance(parameter, Float):
        # a logarithm and back may end outside by a rounding
        return min(max(told, parameter.low), parameter.high)
    return told
