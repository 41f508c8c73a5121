"""Tables of recorded learning curves as simulated problems: a configuration gets the curve of the
nearest recorded one.
"""

import copy
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hopsearch.core.atomic_writes import written_whole
from hopsearch.core.config import did_you_mean
from hopsearch.core.errors import StudyError
from hopsearch.core.seeds import derive
from hopsearch.orchestration.simulation.simulator import Training
from hopsearch.space import Categorical, Float, Int, Parameter, Space, read_costs


def read_table(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read a table: its header (``space``, ``data``, versions), and its rows.

    Raises:
        StudyError: it cannot be read.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            head, *rows = (json.loads(line) for line in lines)
    except (OSError, ValueError, EOFError) as error:
        raise StudyError(
            str(file), f"must be a table of learning curves, got: {error}", "Record it again"
        ) from error
    return head, rows


def write_table(
    file: Path, head: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> None:
    """Write a table atomically; the same table gives the same bytes."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (head, *rows))
    with written_whole(file) as scratch:
        scratch.write_bytes(gzip.compress(text.encode(), mtime=0))


class TableLandscape:
    """A recorded table, extended to the whole space: a configuration gets the curve of the nearest
    row not yet used by this search.

    So every curve is from a real training, and a search that tries the same region repeatedly gets
    new results each time, as with real trainings. Rows are compared parameter by parameter: numbers
    (and choices among numbers) by their distance on a scale from 0 to 1, logarithmic if the
    parameter is; other choices, and a parameter that is active in only one of the two, by 0 or 1.
    If a row was trained with several seeds, the trial's seed picks one of the curves.

    Args:
        file: the table.
        metric: the column to report.
        up_to: the last configuration, by number, to use; None: all.

    Attributes:
        space: the space of the table.
        rows: one per configuration, each with its repeats.
        best: the highest mean (over a row's repeats) of best values on a curve.
    """

    def __init__(self, file: Path, metric: str = "val_acc", up_to: int | None = None) -> None:
        head, rows = read_table(file)
        rows = [row for row in rows if up_to is None or row["number"] <= up_to]
        self.space = Space.from_dict(head["space"])
        if not rows or metric not in rows[0]:
            known = did_you_mean(metric, list(rows[0]) if rows else [])
            raise StudyError(str(file), f"must have a column {metric!r}, got none", known)
        grouped: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            grouped.setdefault(row["number"], []).append(row)
        self.rows = list(grouped.values())
        self._metric = metric
        self._codes_NP = np.array([self.encode(repeats[0]["params"]) for repeats in self.rows])
        self.best = max(
            float(np.mean([max(repeat[metric], default=0.0) for repeat in repeats]))
            for repeats in self.rows
        )
        self._taken: dict[str, int] = {}
        self._used: set[int] = set()

    def fresh(self) -> "TableLandscape":
        """A fresh copy of the table for another search."""
        other = copy.copy(self)
        other._taken = {}
        other._used = set()
        return other

    def nearest(self, config: Mapping[str, object]) -> npt.NDArray[np.int64]:
        """Indices of all rows, nearest to ``config`` first."""
        code_P = self.encode({name: config[name] for name in self.space.active(config)})
        gaps_NP = np.abs(self._codes_NP - code_P)
        # NaN is an inactive parameter: equal to another inactive one, different from any value.
        gaps_NP[np.isnan(self._codes_NP) & np.isnan(code_P)] = 0.0
        return np.argsort(np.nan_to_num(np.minimum(gaps_NP, 1.0), nan=1.0).sum(1), kind="stable")

    def cost(self, config: Mapping[str, object]) -> dict[str, float]:
        """The cost of the row."""
        return read_costs(self._row(config)[0]["cost"])

    def train(self, config: Mapping[str, object], seed: int) -> Training:
        """The curve of the nearest unused row; of the nearest row once all are used."""
        repeats = self._row(config)
        row = repeats[derive(seed) % len(repeats)]
        return Training(row[self._metric], row["seconds"] or [1.0])

    def _row(self, config: Mapping[str, object]) -> list[dict[str, Any]]:
        key = self.space.canonical(config)
        if key not in self._taken:
            order = [int(index) for index in self.nearest(config)]
            self._taken[key] = next((index for index in order if index not in self._used), order[0])
            self._used.add(self._taken[key])
        return self.rows[self._taken[key]]

    def encode(self, params: Mapping[str, object]) -> npt.NDArray[np.float64]:
        """The values of a configuration's active parameters as numbers, on scales from 0 to 1; NaN
        for inactive ones.
        """
        parameters = self.space.parameters.items()
        return np.array(
            [
                _scaled(parameter, params[name]) if name in params else np.nan
                for name, parameter in parameters
            ]
        )


def _scaled(parameter: Parameter, value: Any) -> float:
    if isinstance(parameter, Categorical):
        place = parameter.choices.index(value)
        numbers = not any(
            isinstance(choice, str | bool) or choice is None for choice in parameter.choices
        )
        # any two words have distance 1
        return place / max(1, len(parameter.choices) - 1) if numbers else 10.0 * place
    assert isinstance(parameter, Float | Int)
    low, high, value = (
        np.log(x) if parameter.log else x for x in (parameter.low, parameter.high, value)
    )
    return float((value - low) / (high - low)) if high > low else 0.0
