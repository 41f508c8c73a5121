"""Figures of a search: progress, early stopping, importance of settings. Each is None if there is
nothing to show.
"""

import math
from collections.abc import Iterable
from typing import Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hopsearch.core.terminal_tables import without_section
from hopsearch.reporting.facts import COSTS, Facts
from hopsearch.reporting.style import (
    FAMILY_COLOURS,
    OTHER_COLOUR,
    about,
    colour_of,
    layout,
    log_axis,
    positions,
)
from hopsearch.space import Categorical, Parameter
from hopsearch.study import State, StudyView, TrialRecord
from hopsearch.study.importances import Importance

_Axis = tuple[Literal["epochs", "seconds"], float]
_AXES: tuple[_Axis, _Axis] = (("epochs", 1.0), ("seconds", 1 / 60))  # each with its scale


def history(facts: Facts, others: Iterable[Facts] = ()) -> go.Figure | None:
    """The best value so far, against epochs trained and against time, with other studies for
    comparison.
    """
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.03)
    for index, one in enumerate((facts, *others)):
        points = [point for point in one.history if point["best"] is not None]
        colour = [OTHER_COLOUR, "#d35400", "#16a085"][index % 3]
        for column, (key, scale) in enumerate(_AXES, start=1):
            at = [point[key] * scale for point in points]
            name = one.study["name"]
            best = go.Scatter(
                x=at,
                y=[p["best"] for p in points],
                name=name,
                line={"shape": "hv", "color": colour},
                legendgroup=name,
            )
            best.showlegend = column == 1
            figure.add_trace(best, 1, column)
            valued = [point for point in one.history if point["peak"]]
            dots = {"size": 5, "color": colour, "opacity": 0.45}
            text = [f"trial {point['trial']}: {point['value']:.4f}" for point in valued]
            x = [point[key] * scale for point in valued]
            y = [point["value"] for point in valued]
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="markers",
                    marker=dots,
                    text=text,
                    hoverinfo="text",
                    showlegend=False,
                ),
                1,
                column,
            )
    if not any(trace.x for trace in figure.data):
        return None
    figure.update_xaxes(title_text="epochs trained, over all trials", col=1)
    figure.update_xaxes(title_text="minutes of search, without pauses", col=2)
    figure.update_yaxes(title_text=facts.study["objective"], col=1)
    return layout(figure)


def curves(view: StudyView) -> go.Figure | None:
    """All learning curves, by state; with stopping points and rungs."""
    shown = [record for record in view.counted() if record.curve]
    if not shown:
        return None
    figure = go.Figure()
    # drawn on top
    for state in sorted(State, key=lambda state: state in (State.COMPLETE, State.RUNNING)):
        records = [record for record in shown if record.state == state]
        if records:
            figure.add_trace(_lines(view, records, state))
            figure.add_trace(_ends(view, records, state))
    for rung in view.identity.space.fidelity.rungs:
        figure.add_vline(x=rung, line={"dash": "dot", "width": 1, "color": "#999"})
    rungs = list(view.identity.space.fidelity.rungs)
    figure.update_xaxes(
        title_text="epoch; dotted: rungs",
        type="log" if rungs[-1] > 12 else "linear",
        tickvals=rungs,
    )
    figure.update_yaxes(title_text=view.objective)
    return layout(figure, 460)


def _lines(view: StudyView, records: list[TrialRecord], state: State) -> go.Scatter:
    # One trace per state, with gaps between the curves: a thousand traces would take the browser
    # seconds.
    x: list[int | None] = []
    y: list[float | None] = []
    for record in records:
        x += [*record.curve, None]
        y += [*record.curve.values(), None]
    width, opacity = (1.5, 0.9) if state in (State.COMPLETE, State.RUNNING) else (1, 0.5)
    line = {"width": width, "color": colour_of(state)}
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line=line,
        opacity=opacity,
        name=state.value,
        legendgroup=state.value,
        hoverinfo="skip",
    )


def _ends(view: StudyView, records: list[TrialRecord], state: State) -> go.Scatter:
    symbol = {State.PRUNED: "x-thin", State.FAILED: "cross"}.get(state, "circle")
    marker = {
        "size": 7,
        "symbol": symbol,
        "color": colour_of(state),
        "line": {"width": 1.5, "color": colour_of(state)},
    }
    x = [record.epoch for record in records]
    y = [record.curve[record.epoch] for record in records]
    text = [about(view, record) for record in records]
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker=marker,
        text=text,
        hoverinfo="text",
        legendgroup=state.value,
        showlegend=False,
    )


def stops(facts: Facts) -> go.Figure | None:
    """The number of trials ended per epoch, and how the epochs were spent."""
    ended = [row for row in facts.leaderboard if row["epochs"]]
    if not ended:
        return None
    at = sorted({row["epochs"] for row in ended})
    figure = make_subplots(1, 2, horizontal_spacing=0.1, subplot_titles=("trials", "epochs spent"))
    for state in State:
        counts = [
            sum(row["epochs"] == epoch and row["state"] == state.value for row in ended)
            for epoch in at
        ]
        if any(counts):
            colour = {"color": colour_of(state)}
            labels = [str(epoch) for epoch in at]
            figure.add_trace(
                go.Bar(
                    x=labels, y=counts, marker=colour, name=state.value, legendgroup=state.value
                ),
                1,
                1,
            )
            spent = [count * epoch for count, epoch in zip(counts, at, strict=True)]
            figure.add_trace(
                go.Bar(x=labels, y=spent, marker=colour, legendgroup=state.value, showlegend=False),
                1,
                2,
            )
    figure.update_xaxes(title_text="ended after epoch", type="category")
    return layout(figure, 340, barmode="stack")


def parallel(view: StudyView) -> go.Figure | None:
    """Every trial as a line over all parameters; drag along an axis to select some."""
    records = list(reversed(view.ranked()))  # the best are drawn last, on top
    if len(records) < 2:
        return None
    dimensions = []
    for name, parameter in view.identity.space.parameters.items():
        at, ticks, labels = positions(
            [record.params.get(name) for record in records], parameter_is_log(parameter)
        )
        dimensions.append(
            {"label": without_section(name), "values": at, "tickvals": ticks, "ticktext": labels}
        )
    values = [view.value(record) for record in records]
    dimensions += [
        {"label": "epochs", "values": [float(record.epoch) for record in records]},
        {"label": view.objective, "values": values},
    ]
    scale = "Viridis" if view.sign > 0 else "Viridis_r"
    # Most trials are stopped early: without a floor, their values would dominate the colour scale.
    ordered = sorted(values)
    ends = {"cmin": ordered[len(ordered) // 5], "cmax": ordered[-1]} if view.sign > 0 else {}
    line = {"color": values, "colorscale": scale, "showscale": True, **ends}
    figure = layout(
        go.Figure(
            go.Parcoords(dimensions=dimensions, line=line, labelangle=-20, labelside="bottom")
        ),
        480,
    )
    return figure.update_layout(margin={"l": 60, "r": 40, "t": 30, "b": 90})


def importance(found: dict[int, dict[str, Importance]], objective: str) -> go.Figure | None:
    """Shares of variance by parameter, one bar per epoch analysed."""
    found = {epoch: shares for epoch, shares in found.items() if shares}
    if not found:
        return None
    largest: dict[str, float] = {}
    for shares in found.values():
        for name, known in shares.items():
            largest[name] = max(largest.get(name, 0.0), known.share)
    names = sorted(largest, key=lambda name: largest[name])  # from below
    figure = go.Figure()
    for index, (epoch, shares) in enumerate(found.items()):
        kept = [name for name in names if name in shares]
        text = [
            f"{shares[name].share:.3f} of the variance among {shares[name].trials} trials"
            for name in kept
        ]
        colour = {"color": ["#9bb7d4", "#2f5d8a"][index % 2]}
        bar = go.Bar(
            y=[without_section(name) for name in kept],
            x=[shares[name].share for name in kept],
            orientation="h",
            marker=colour,
        )
        figure.add_trace(
            bar.update(
                name=f"after epoch {epoch}", text=text, textposition="none", hoverinfo="text"
            )
        )
    figure.update_xaxes(
        title_text=f"share of the variance of {objective} (fANOVA)", rangemode="tozero"
    )
    return layout(figure, 120 + 30 * len(names)).update_layout(margin={"l": 140, "b": 95})


def slices(view: StudyView) -> go.Figure | None:
    """Each parameter against the objective; colours show how long trials were trained."""
    records = [record for record in reversed(view.ranked()) if record.params]
    shown = {
        name: parameter
        for name, parameter in view.identity.space.parameters.items()
        if len({record.params[name] for record in records if name in record.params}) > 1
    }
    if not shown:
        return None
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = make_subplots(
        rows, columns, shared_yaxes=True, horizontal_spacing=0.02, vertical_spacing=0.45 / rows
    )
    for index, (name, parameter) in enumerate(shown.items()):
        having = [record for record in records if name in record.params]
        at, ticks, labels = positions(
            [record.params[name] for record in having], parameter_is_log(parameter)
        )
        marker = {
            "size": 6,
            "color": [round(math.log(record.epoch), 2) for record in having],
            "colorscale": "Blues",
            "cmin": -1,
        }
        marker["line"] = {"width": 0.5, "color": "#555"}
        # A thousand trials have a dozen parameters each, so text is abbreviated.
        text = [f"trial {record.number}, {record.epoch} epochs" for record in having]
        at = [round(x, 5) for x in at]
        y = [round(view.value(record), 5) for record in having]
        dots = go.Scatter(x=at, y=y, mode="markers", marker=marker, text=text, hoverinfo="text+y")
        row, column = divmod(index, columns)
        figure.add_trace(dots, row + 1, column + 1)
        figure.update_xaxes(
            title_text=without_section(name),
            tickvals=ticks,
            ticktext=labels,
            row=row + 1,
            col=column + 1,
        )
    figure.update_yaxes(title_text=view.objective, col=1)
    return layout(figure, 100 + 230 * rows, showlegend=False)


def fronts(view: StudyView, facts: Facts) -> go.Figure | None:
    """The objective against a model's cost; the line joins the trials that no other beats in
    both.
    """
    costs = [name for name in COSTS if name in facts.fronts]
    records = [record for record in view.ranked() if all(record.cost.get(name) for name in costs)]
    if not costs or not records:
        return None
    figure = make_subplots(1, len(costs), shared_yaxes=True, horizontal_spacing=0.03)
    families = list(dict.fromkeys(str(record.config.get("model.family")) for record in records))
    for column, cost in enumerate(costs, start=1):
        for family in families:
            own = [record for record in records if record.config.get("model.family") == family]
            marker = {"size": 7, "color": FAMILY_COLOURS.get(family, OTHER_COLOUR), "opacity": 0.8}
            x = [record.cost[cost] for record in own]
            y = [view.value(record) for record in own]
            dots = go.Scatter(
                x=x,
                y=y,
                mode="markers",
                marker=marker,
                name=family,
                legendgroup=family,
                showlegend=column == 1,
            )
            figure.add_trace(
                dots.update(text=[about(view, record) for record in own], hoverinfo="text"),
                1,
                column,
            )
        front = [view.records[number] for number in facts.fronts[cost]]
        larger = any(objective.name == cost and objective.sign > 0 for objective in view.objectives)
        line = {"shape": "vh" if larger else "hv", "color": "#222", "width": 1.5}
        x = [record.cost[cost] for record in front]
        y = [view.value(record) for record in front]
        best = go.Scatter(
            x=x,
            y=y,
            mode="lines",
            line=line,
            name="Pareto front",
            hoverinfo="skip",
            showlegend=column == 1,
        )
        figure.add_trace(best, 1, column)
        figure.update_xaxes(
            title_text=COSTS[cost],
            **log_axis([record.cost[cost] for record in records]),
            col=column,
        )
    figure.update_yaxes(title_text=view.objective, col=1)
    return layout(figure)


def parameter_is_log(parameter: Parameter) -> bool:
    """Whether the space samples the parameter logarithmically."""
    return not isinstance(parameter, Categorical) and bool(getattr(parameter, "log", False))
