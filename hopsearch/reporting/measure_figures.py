"""Figures of the trained models' own measures: symmetry at equal size, emergent asymmetry,
convergence of iterations.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hopsearch.core.intervals import plus_minus
from hopsearch.reporting.effects import Adjusted, reached
from hopsearch.reporting.style import FAMILY_COLOURS, OTHER_COLOUR, about, layout, log_axis
from hopsearch.space.conditions import is_number
from hopsearch.study import State, StudyView, TrialRecord

_UNRELATED = 1 / math.sqrt(
    2
)  # value for two independent random matrices of the same size and scale


def symmetry(view: StudyView, adjusted: dict[str, Adjusted], epoch: int) -> go.Figure | None:
    """Sym, Para and Asym against their number of parameters, and at equal parameters with 95 %
    intervals.
    """
    if not adjusted:
        return None
    figure = make_subplots(
        1, 2, column_widths=[0.65, 0.35], shared_yaxes=True, horizontal_spacing=0.04
    )
    for family in adjusted:
        known = [(r, y) for r, y in reached(view, epoch) if r.config.get("model.family") == family]
        colour = FAMILY_COLOURS[family]
        x = [record.cost["n_params"] for record, _ in known]
        y = [value for _, value in known]
        text = [about(view, record) for record, _ in known]
        dots = go.Scatter(
            x=x,
            y=y,
            mode="markers",
            name=family,
            marker={"color": colour, "size": 7},
            text=text,
            hoverinfo="text",
        )
        figure.add_trace(dots, 1, 1)
        mean = adjusted[family]
        bar = {"type": "data", "array": [mean.margin], "thickness": 2, "width": 8}
        text = [
            f"{family}: {mean.mean:.4f}{plus_minus(mean.margin)} at {mean.params:,.0f} "
            f"parameters, {mean.trials} trials"
        ]
        marker = {"color": colour, "size": 11, "symbol": "diamond"}
        point = go.Scatter(
            x=[family],
            y=[mean.mean],
            error_y=bar,
            mode="markers",
            marker=marker,
            text=text,
            hoverinfo="text",
        )
        figure.add_trace(point.update(showlegend=False), 1, 2)
    params = next(iter(adjusted.values())).params
    sizes = [
        r.cost["n_params"]
        for r, _ in reached(view, epoch)
        if r.config.get("model.family") in adjusted
    ]
    figure.update_xaxes(title_text="parameters", **log_axis(sizes), col=1)
    figure.update_xaxes(title_text=f"at {params:,.0f} parameters", type="category", col=2)
    figure.update_yaxes(title_text=f"{view.objective} after epoch {epoch}", col=1)
    return layout(figure, 400)


def asymmetry(view: StudyView) -> go.Figure | None:
    """‖W2 − W1ᵀ‖ / (‖W1‖ + ‖W2‖) of the newest epoch, against epochs trained, one panel for tokens
    and one for channels.
    """
    records = [
        record
        for record in _measured(view, "asymmetry/tokens/mean")
        if record.config["model.family"] != "symmixer"
    ]
    if not records:
        return None
    titles = ("token mixing", "channel mixing")
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=titles)
    for column, where in enumerate(("tokens", "channels"), start=1):
        _by_family(view, figure, records, f"asymmetry/{where}/mean", column)
        figure.add_hline(y=_UNRELATED, line={"dash": "dot", "color": "#888"}, row=1, col=column)
    figure.update_xaxes(
        title_text="epochs trained", type="log", tickvals=list(view.identity.space.fidelity.rungs)
    )
    figure.update_yaxes(title_text="asymmetry, mean over blocks", col=1)
    return layout(figure, 400)


def breaking(view: StudyView) -> go.Figure | None:
    """‖W̃‖ / ‖W1‖ of AsymMixers against the strength λ of their penalty."""
    records = [
        r
        for r in _measured(view, "breaking/tokens/mean")
        if is_number(r.params.get("model.symmetry_breaking"))
    ]
    if not records:
        return None
    levels: Sequence[object] = sorted(
        filter(is_number, {record.params["model.symmetry_breaking"] for record in records})
    )
    figure = go.Figure()
    for where, colour in (("tokens", "#e07a1f"), ("channels", "#2f5d8a")):
        x = [levels.index(record.params["model.symmetry_breaking"]) for record in records]
        y = [record.metrics[f"breaking/{where}/mean"] for record in records]
        marker = {
            "color": colour,
            "size": [7 + 3 * math.log(record.epoch) for record in records],
            "opacity": 0.7,
        }
        text = [about(view, record) for record in records]
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="markers", name=where, marker=marker, text=text, hoverinfo="text"
            )
        )
    ticks = {"tickvals": list(range(len(levels))), "ticktext": [f"{level:.3g}" for level in levels]}
    figure.update_xaxes(title_text="λ, strength of the penalty on W̃", **ticks)
    figure.update_yaxes(title_text="‖W̃‖ / ‖W1‖")
    return layout(figure, 360)


def residuals(view: StudyView) -> go.Figure | None:
    """Distance of iMixer's iteration from its fixed point, against its number of steps; colours
    show the spectral bound.
    """
    records = [
        r
        for r in _measured(view, "fixed_point/residual/mean")
        if r.metrics["fixed_point/residual/mean"] > 0
    ]
    if not records:
        return None
    y = [record.metrics["fixed_point/residual/mean"] for record in records]
    bound = [record.config.get("model.spectral_coeff", 0.9) for record in records]
    bar = {"title": "spectral_coeff"}
    marker = {
        "size": 9,
        "color": bound,
        "colorscale": "Plasma",
        "showscale": True,
        "colorbar": bar,
        "line": {"width": 0.5},
    }
    text = [about(view, record) for record in records]
    x = [record.config.get("model.n_iter", 2) for record in records]
    figure = go.Figure(
        go.Scatter(x=x, y=y, mode="markers", marker=marker, text=text, hoverinfo="text")
    )
    figure.update_xaxes(title_text="n_iter", dtick=1)
    figure.update_yaxes(title_text="‖yₙ − yₙ₋₁‖ / ‖yₙ‖, mean over blocks", type="log")
    return layout(figure, 380)


def _measured(view: StudyView, name: str) -> list[TrialRecord]:
    return [
        r
        for r in view.counted()
        if name in r.metrics and r.state != State.FAILED and "model.family" in r.config
    ]


def _by_family(
    view: StudyView, figure: go.Figure, records: list[TrialRecord], metric: str, column: int
) -> None:
    families = defaultdict[str, list[TrialRecord]](list)
    for record in records:
        families[str(record.config["model.family"])].append(record)
    for family, own in families.items():
        marker = {"size": 8, "color": FAMILY_COLOURS.get(family, OTHER_COLOUR), "opacity": 0.75}
        x = [record.epoch for record in own]
        y = [record.metrics[metric] for record in own]
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
            dots.update(text=[about(view, record) for record in own], hoverinfo="text"), 1, column
        )
