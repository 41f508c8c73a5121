"""The research view: effects of the models' settings, with their uncertainty.

A search is not a controlled experiment: the sampler prefers promising values, and all other
settings vary too. Intervals quantify random variation of a mean; they do not correct for this.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy import stats

from hopsearch.core.intervals import plus_minus
from hopsearch.core.terminal_tables import without_section
from hopsearch.reporting.style import FAMILY_COLOURS, OTHER_COLOUR, about, layout
from hopsearch.study import State, StudyView, TrialRecord

_LEAST = 3  # minimum number of trials for a mean
_SYMMETRY = ("symmixer", "paramixer", "asymmixer")


@dataclass(frozen=True)
class Mean:
    """The mean of a group of trials.

    Attributes:
        trials: their number.
        mean: of their values.
        margin: half of the mean's 95 % interval by Student's t; infinite for a single trial.
    """

    trials: int
    mean: float
    margin: float


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and its 95 % interval."""
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Mean(count, mean, math.inf)
    return Mean(
        count,
        mean,
        float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count)),
    )


def reached(view: StudyView, epoch: int) -> list[tuple[TrialRecord, float]]:
    """The trials that reached ``epoch``, each with its best value up to it: only such values are
    comparable.
    """
    found = []
    for record in view.counted():
        best = record.best(view.sign, up_to=epoch)
        if record.epoch >= epoch and best is not None and record.state != State.FAILED:
            found.append((record, best[1]))
    return found


def epochs_to_compare(view: StudyView, least: int = 10) -> list[int]:
    """The first rung, which nearly all trials reach, and the last one reached by at least
    ``least``.
    """
    rungs = [
        rung for rung in view.identity.space.fidelity.rungs if len(reached(view, rung)) >= least
    ]
    return sorted({rungs[0], rungs[-1]}) if rungs else []


def effect(view: StudyView, name: str, epochs: Sequence[int]) -> go.Figure | None:
    """The objective against one parameter, family by family, with means and their intervals, at
    each of ``epochs``.
    """
    panels = [(epoch, _grouped(view, name, epoch)) for epoch in epochs]
    panels = [(epoch, groups) for epoch, groups in panels if groups]
    if not panels:
        return None
    titles = [f"after epoch {epoch}" for epoch, _ in panels]
    figure = make_subplots(1, len(panels), horizontal_spacing=0.08, subplot_titles=titles)
    for column, (_, groups) in enumerate(panels, start=1):
        levels = sorted({value for by_value in groups.values() for value in by_value}, key=_level)
        for family, by_value in groups.items():
            colour = FAMILY_COLOURS.get(family, OTHER_COLOUR)
            for trace in _points_and_means(view, by_value, levels, family, colour, column == 1):
                figure.add_trace(trace, 1, column)
        ticks = {
            "tickvals": list(range(len(levels))),
            "ticktext": [_word(level) for level in levels],
        }
        figure.update_xaxes(title_text=without_section(name), **ticks, col=column)
    figure.update_yaxes(title_text=view.objective, col=1)
    return layout(figure, 380)


def _grouped(
    view: StudyView, name: str, epoch: int
) -> dict[str, dict[Any, list[tuple[TrialRecord, float]]]]:
    groups: dict[str, dict[Any, list[tuple[TrialRecord, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record, value in reached(view, epoch):
        if name in record.params:
            groups[str(record.config.get("model.family"))][record.params[name]].append(
                (record, value)
            )
    enough = {
        family: dict(by_value)
        for family, by_value in groups.items()
        if sum(map(len, by_value.values())) >= _LEAST
    }
    return enough if len({value for by_value in enough.values() for value in by_value}) > 1 else {}


def _points_and_means(
    view: StudyView,
    by_value: dict[Any, list[tuple[TrialRecord, float]]],
    levels: list[object],
    family: str,
    colour: str,
    legend: bool,
) -> list[go.Scatter]:
    shift = {name: 0.06 * index for index, name in enumerate(FAMILY_COLOURS)}.get(
        family, 0.0
    ) - 0.15
    pairs = [
        (levels.index(value) + shift, record, y)
        for value, known in by_value.items()
        for record, y in known
    ]
    marker = {"size": 5, "color": colour, "opacity": 0.4}
    x = [at for at, _, _ in pairs]
    y = [value for _, _, value in pairs]
    text = [about(view, record) for _, record, _ in pairs]
    dots = go.Scatter(
        x=x,
        y=y,
        mode="markers",
        legendgroup=family,
        showlegend=False,
        marker=marker,
        text=text,
        hoverinfo="text",
    )
    means = {
        levels.index(value) + shift: mean_of([y for _, y in known])
        for value, known in by_value.items()
    }
    means = {at: mean for at, mean in sorted(means.items()) if mean.trials >= _LEAST}
    bars = {
        "type": "data",
        "array": [mean.margin for mean in means.values()],
        "thickness": 1.5,
        "width": 4,
    }
    text = [
        f"{family}: {mean.mean:.4f}{plus_minus(mean.margin)}, {mean.trials} trials"
        for mean in means.values()
    ]
    x = list(means)
    y = [mean.mean for mean in means.values()]
    line = go.Scatter(
        x=x,
        y=y,
        error_y=bars,
        mode="lines+markers",
        name=family,
        legendgroup=family,
        showlegend=legend,
    )
    line.update(
        line={"color": colour}, marker={"size": 9, "symbol": "diamond"}, text=text, hoverinfo="text"
    )
    return [dots, line]


def grid(view: StudyView, x_name: str, y_name: str, epoch: int) -> go.Figure | None:
    """Mean of the objective for each pair of two parameters' values, one panel per family; every
    cell shows its number of trials.
    """
    cells: dict[str, dict[tuple[Any, Any], list[float]]] = defaultdict(lambda: defaultdict(list))
    for record, value in reached(view, epoch):
        if x_name in record.params and y_name in record.params:
            cells[str(record.config.get("model.family"))][
                record.params[x_name], record.params[y_name]
            ].append(value)
    families = [family for family, known in cells.items() if len(known) > 1]
    if not families:
        return None
    xs = sorted({x for known in cells.values() for x, _ in known}, key=_level)
    ys = sorted({y for known in cells.values() for _, y in known}, key=_level)
    figure = make_subplots(
        1, len(families), subplot_titles=families, shared_yaxes=True, horizontal_spacing=0.02
    )
    for column, family in enumerate(families, start=1):
        known = cells[family]
        z = [[float(np.mean(known[x, y])) if (x, y) in known else None for x in xs] for y in ys]
        text = [
            [
                f"{np.mean(known[x, y]):.3f}<br>n={len(known[x, y])}" if (x, y) in known else ""
                for x in xs
            ]
            for y in ys
        ]
        plain = {
            "x": [_word(x) for x in xs],
            "y": [_word(y) for y in ys],
            "z": z,
            "coloraxis": "coloraxis",
        }
        figure.add_trace(
            go.Heatmap(
                **plain, text=text, texttemplate="%{text}", textfont={"size": 10}, hoverinfo="skip"
            ),
            1,
            column,
        )
        figure.update_xaxes(title_text=without_section(x_name), type="category", col=column)
    figure.update_yaxes(title_text=without_section(y_name), type="category", col=1)
    return layout(
        figure, 380, coloraxis={"colorscale": "Viridis", "colorbar": {"title": view.objective}}
    )


@dataclass(frozen=True)
class Adjusted:
    """A family's mean at a common number of parameters, from one line per family with a common
    slope.

    Attributes:
        trials: of the family.
        params: the number of parameters compared at.
        mean: the objective at that number.
        margin: half of its 95 % interval.
    """

    trials: int
    params: float
    mean: float
    margin: float


def at_equal_parameters(view: StudyView, epoch: int) -> dict[str, Adjusted]:
    """The symmetric, the parallel and the asymmetric mixer at the same number of parameters
    (analysis of covariance).

    SymMixer has about half of the others' parameters, so a plain comparison confounds symmetry with
    capacity. The objective is fitted as family + slope · log(parameters); each family is then
    evaluated at the median over all their trials.
    """
    found = [
        (r, y)
        for r, y in reached(view, epoch)
        if r.config.get("model.family") in _SYMMETRY and r.cost.get("n_params")
    ]
    by_family = {
        family: [pair for pair in found if pair[0].config["model.family"] == family]
        for family in _SYMMETRY
    }
    by_family = {family: known for family, known in by_family.items() if len(known) >= _LEAST}
    known = [pair for family in by_family.values() for pair in family]
    freedom = len(known) - len(by_family) - 1
    if len(by_family) < 2 or freedom < 1:
        return {}
    sizes = np.array([math.log(record.cost["n_params"]) for record, _ in known])
    middle = float(np.median(sizes))
    indicators = [
        [float(record.config["model.family"] == family) for record, _ in known]
        for family in by_family
    ]
    design = np.column_stack([*indicators, sizes - middle])
    y = np.array([value for _, value in known])
    weights, *_ = np.linalg.lstsq(design, y, rcond=None)
    variance = float(np.sum((y - design @ weights) ** 2)) / freedom
    spread = np.sqrt(variance * np.diag(np.linalg.pinv(design.T @ design)))
    t = float(stats.t.ppf(0.975, freedom))
    return {
        family: Adjusted(
            len(by_family[family]),
            math.exp(middle),
            float(weights[index]),
            t * float(spread[index]),
        )
        for index, family in enumerate(by_family)
    }


def _level(value: object) -> tuple[bool, Any]:
    return (isinstance(value, str), value)


def _word(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
