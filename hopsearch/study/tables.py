"""Tables of recorded learning curves, as something to search: a configuration trains as the recorded one nearest to it did."""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hopsearch.config import did_you_mean
from hopsearch.errors import StudyError
from hopsearch.seeds import derive
from hopsearch.space import Categorical, Float, Int, Parameter, Space
from hopsearch.study.simulator import Training


def read_table(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What holds for the whole table (``space``, ``data``, versions), and its rows.

    Raises:
        StudyError: it cannot be read.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            head, *rows = (json.loads(line) for line in lines)
    except (OSError, ValueError, EOFError) as error:
        raise StudyError(str(file), f"must be a table of learning curves, got: {error}", "Record it again") from error
    return head, rows


def write_table(file: Path, head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whole or not at all; the same table is the same bytes."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (head, *rows))
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_bytes(gzip.compress(text.encode(), mtime=0))
    os.replace(scratch, file)


class TableLandscape:
    """A recorded table, continued to the whole space by its nearest row.

    Rows are compared parameter by parameter: numbers (and choices among numbers) by their distance on a scale from 0 to 1,
    logarithmic where the parameter is; other choices, and a parameter that is active in one of the two only, by 0 or 1.
    Where a configuration was trained with several seeds, the trial's seed picks one of the curves.

    Args:
        file: the table.
        metric: the column that is reported.

    Attributes:
        space: what the table was drawn from.
        best: the highest mean (over a row's seeds) of best values on a curve.
    """

    def __init__(self, file: Path, metric: str = "val_acc") -> None:
        head, rows = read_table(file)
        self.space = Space.from_dict(head["space"])
        if not rows or metric not in rows[0]:
            known = did_you_mean(metric, list(rows[0]) if rows else [])
            raise StudyError(str(file), f"must have a column {metric!r}, got none", known)
        grouped: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            grouped.setdefault(row["number"], []).append(row)
        self.rows = list(grouped.values())
        self._metric = metric
        self._codes_NP = np.array([self._encode(repeats[0]["params"]) for repeats in self.rows])
        self._found: dict[bytes, int] = {}
        self.best = max(float(np.mean([max(repeat[metric], default=0.0) for repeat in repeats])) for repeats in self.rows)

    def nearest(self, config: Mapping[str, Any]) -> int:
        """Index of the row most like ``config``."""
        code_P = self._encode({name: config[name] for name in self.space.active(config)})
        key = code_P.tobytes()
        if key not in self._found:
            gaps_NP = np.abs(self._codes_NP - code_P)
            # NaN is an inactive parameter: like another inactive one, unlike any value.
            gaps_NP[np.isnan(self._codes_NP) & np.isnan(code_P)] = 0.0
            self._found[key] = int(np.nan_to_num(np.minimum(gaps_NP, 1.0), nan=1.0).sum(1).argmin())
        return self._found[key]

    def train(self, config: Mapping[str, Any], seed: int) -> Training:
        """The curve of the nearest row."""
        repeats = self.rows[self.nearest(config)]
        row = repeats[derive(seed) % len(repeats)]
        return Training(row[self._metric], row["seconds"] or [1.0], row["cost"])

    def _encode(self, params: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        parameters = self.space.parameters.items()
        return np.array([_scaled(parameter, params[name]) if name in params else np.nan for name, parameter in parameters])


def _scaled(parameter: Parameter, value: Any) -> float:
    if isinstance(parameter, Categorical):
        place = parameter.choices.index(value)
        numbers = not any(isinstance(choice, str | bool) or choice is None for choice in parameter.choices)
        return place / max(1, len(parameter.choices) - 1) if numbers else 10.0 * place  # any two words are 1 apart
    assert isinstance(parameter, Float | Int)
    low, high, value = (np.log(x) if parameter.log else x for x in (parameter.low, parameter.high, value))
    return float((value - low) / (high - low)) if high > low else 0.0
