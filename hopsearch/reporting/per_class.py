"""Figures of the winner's performance per class on the test split, and the baseline of a constant
answer in figures of accuracies.
"""

import html
from collections import Counter
from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go

from hopsearch.reporting.facts import Facts
from hopsearch.reporting.style import layout
from hopsearch.study import StudyView

_WITH_NUMBERS = 20
_MOST = 100
_SHOWN = 40
_NAME = 24  # displayed letters of a class name


def confusion(view: StudyView, facts: Facts) -> go.Figure | None:
    """The confusion matrix of the winner: predictions (columns) per true class (rows), as shares of
    a row.

    With more than 100 classes, only the 40 with the most errors are shown; shares of other classes
    are then omitted from the rows.
    """
    winner = facts.winner or {}
    names = view.identity.origin.get("classes", [])
    if "confusions" not in winner or not names:
        return None
    test = winner["by_class"]["test"]
    shown = _shown(winner["confusions"], len(names))
    place = {label: at for at, label in enumerate(shown)}
    counts = [[0] * len(shown) for _ in shown]
    for label, at in place.items():
        counts[at][at] = test["hits"][label]
    for label, said, count in winner["confusions"]:
        if label in place and said in place:
            counts[place[label]][place[said]] = count
    words = [_short(names[label]) for label in shown]
    shares = [
        [count / max(1, test["images"][label]) for count in row]
        for label, row in zip(shown, counts, strict=True)
    ]
    about = [
        [
            f"{words[at]}, said {words[said]}: {count} of {test['images'][shown[at]]} images"
            for said, count in enumerate(row)
        ]
        for at, row in enumerate(counts)
    ]
    return _heat_map(words, shares, counts, about)


def _heat_map(
    words: list[str], shares: list[list[float]], counts: list[list[int]], about: list[list[str]]
) -> go.Figure:
    at = list(range(len(words)))
    heat = go.Heatmap(
        x=at,
        y=at,
        z=shares,
        zmin=0,
        zmax=1,
        colorscale="Blues",
        colorbar={"title": "share of the class"},
    )
    heat.update(customdata=about, hovertemplate="%{customdata}<extra></extra>")
    if len(words) <= _WITH_NUMBERS:
        heat.update(
            text=[[str(count) if count else "" for count in row] for row in counts],
            texttemplate="%{text}",
        )
    figure = go.Figure(heat)
    ticks = {
        "tickvals": at,
        "ticktext": words,
        "tickfont": {"size": 11 if len(words) <= _SHOWN else 8},
    }
    figure.update_xaxes(
        title_text="predicted", **ticks, tickangle=-60 if len(words) > 6 else 0, automargin=True
    )
    figure.update_yaxes(title_text="true class", **ticks, autorange="reversed", automargin=True)
    return layout(figure, max(380, min(900, 160 + 24 * len(words))))


def _shown(confusions: list[list[int]], classes: int) -> list[int]:
    if classes <= _MOST:
        return list(range(classes))
    parts = Counter[int]()
    for label, said, count in confusions:
        parts[label] += count
        parts[said] += count
    return sorted(label for label, _ in parts.most_common(_SHOWN))


def recalls(facts: Facts) -> go.Figure | None:
    """The winner's recall by class with its interval, worst first, for at most 40 classes."""
    rows = (facts.winner or {}).get("recalls", [])[:_SHOWN]
    if not rows:
        return None
    x = [row["recall"] for row in rows]
    y = list(range(len(rows)))
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [row["high"] - row["recall"] for row in rows],
        "arrayminus": [row["recall"] - row["low"] for row in rows],
        "thickness": 1.5,
    }
    text = [
        f"{_short(row['class'])}: {row['recall']:.4f} of {row['images']} images, 95 %: "
        f"{row['low']:.4f} to {row['high']:.4f}"
        for row in rows
    ]
    dots = go.Scatter(
        x=x,
        y=y,
        error_x=bars,
        mode="markers",
        marker={"size": 8, "color": "#2f5d8a"},
        text=text,
        hoverinfo="text",
    )
    figure = go.Figure(dots.update(showlegend=False))
    mean = (facts.winner or {})["test_balanced_acc"]
    figure.add_vline(
        x=mean, line={"dash": "dot", "color": "#888"}, annotation_text=f"mean: {mean:.4f}"
    )
    figure.update_xaxes(title_text="recall on the test split, with 95 % intervals", range=[0, 1.02])
    ticks = {"tickvals": y, "ticktext": [_short(row["class"]) for row in rows]}
    figure.update_yaxes(**ticks, autorange="reversed", automargin=True)
    return layout(figure, 150 + 22 * len(rows))


def mark_baseline(figure: go.Figure | None, facts: Facts, columns: int = 1) -> go.Figure | None:
    """Draw the score of always predicting the largest class, if the figure's axis has that
    metric.
    """
    constant = facts.baseline
    if figure is None or constant is None or constant["metric"] != facts.study["objective"]:
        return figure
    line = {"dash": "dash", "width": 1, "color": "#c0392b"}
    words = f"always {_short(constant['label'])}: {constant['value']:.4f}"
    for column in range(1, columns + 1):
        label: dict[str, Any] = (
            {"annotation_text": words, "annotation_position": "bottom right"}
            if column == columns
            else {}
        )
        where: dict[str, Any] = {"row": 1, "col": column} if columns > 1 else {}
        figure.add_hline(y=constant["value"], line=line, **label, **where)
    return figure


def most_confused(facts: Facts, view: StudyView) -> Iterator[str]:
    """The winner's most frequent confusions, in words."""
    names = view.identity.origin.get("classes", [])
    for label, said, count in (facts.winner or {}).get("confusions", [])[:3]:
        yield f"{count} of {_short(names[label])} as {_short(names[said])}"


def _short(name: str) -> str:
    # Plotly interprets some HTML in labels.
    return html.escape(name if len(name) <= _NAME else f"{name[: _NAME - 1]}…", quote=False)
