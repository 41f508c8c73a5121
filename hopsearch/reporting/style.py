"""The style of figures: colours by state and by family, axes, hover text of trials."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from hopsearch.study import State, StudyView, TrialRecord

STATE_COLOURS = {
    "complete": "#1b7f4b",
    "pruned": "#d08c1d",
    "failed": "#c0392b",
    "running": "#2471a3",
}
FAMILY_COLOURS = {
    "imixer": "#6c3fa0",
    "paramixer": "#1f77b4",
    "symmixer": "#2a9d8f",
    "asymmixer": "#e07a1f",
    "vanillamixer": "#7f7f7f",
    "mlpmixer": "#b0475e",
}
OTHER_COLOUR = "#34495e"
ABSENT = "none"
"""The label of a parameter that a trial does not have."""


def layout(figure: go.Figure, height: int = 420, **more: object) -> go.Figure:
    """The common layout of all figures."""
    below = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": 85},
        hovermode="closest",
    )
    return figure.update_layout(
        font={"family": "system-ui, sans-serif", "size": 13}, legend=below, **more
    )


def log_axis(values: Sequence[float]) -> dict[str, object]:
    """A logarithmic axis with a tick at every 1, 2 and 5 of the decades that ``values`` span."""
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    ticks = [step * 10.0**decade for decade in range(low, high + 1) for step in (1, 2, 5)]
    inside = [tick for tick in ticks if min(values) / 2 <= tick <= max(values) * 2]
    return {"type": "log", "tickvals": inside, "tickformat": "~s"}


def colour_of(state: State) -> str:
    """A state's colour."""
    return STATE_COLOURS.get(state.value, OTHER_COLOUR)


def about(view: StudyView, record: TrialRecord) -> str:
    """A trial in one line, as hover text."""
    best = record.best(view.sign)
    value = f", {view.objective} {best[1]:.4f} at epoch {best[0]}" if best else ""
    family = record.config.get("model.family", "")
    return (
        f"trial {record.number}, {family}{value}, {record.state.value} after {record.epoch} epochs"
    )


def positions(values: Sequence[Any], log: bool) -> tuple[list[float], list[float], list[str]]:
    """The positions of values of any kind on one axis, including absent ones (None).

    Returns:
        Positions; tick positions; tick labels. Numbers keep their distances (in the logarithm with
        ``log``), words are evenly spaced, and absent values are below the rest.
    """
    known = [value for value in values if value is not None]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numeric and log and all(value > 0 for value in known):
        place = {value: math.log10(value) for value in known}
    elif numeric and len(set(known)) > 8 and not log:
        place = {value: float(value) for value in known}
    else:
        order = sorted(set(known)) if numeric else sorted(set(known), key=str)
        place = {value: float(index) for index, value in enumerate(order)}
    low = min(place.values(), default=0.0)
    high = max(place.values(), default=1.0)
    below = low - 0.15 * ((high - low) or 1.0)
    marks = sorted(set(place.items()), key=lambda item: item[1])
    if len(marks) > 8:
        marks = [marks[round(index * (len(marks) - 1) / 3)] for index in range(4)]
    ticks = [at for _, at in marks]
    labels = [f"{value:.2g}" if isinstance(value, float) else str(value) for value, _ in marks]
    if None in values:
        ticks = [below, *ticks]
        labels = [ABSENT, *labels]
    return [below if value is None else place[value] for value in values], ticks, labels
