"""The sections of the page, in order: title, explanation, and a figure or the reason why it is
missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from hopsearch.reporting import effects, figures, measure_figures, per_class
from hopsearch.reporting.facts import Facts
from hopsearch.study import StudyView
from hopsearch.study.importances import importances

_CONFOUNDED = (
    "The sampler prefers promising values and all other settings vary too: a hint, not a "
    "controlled experiment."
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: for links.
        title: its heading.
        text: how to read it.
        figure: None if there is nothing to show yet.
        missing: what is missing then.
    """

    key: str
    title: str
    text: str
    figure: go.Figure | None
    missing: str = "No trial has a value yet."


def winner_sections(view: StudyView, facts: Facts) -> Iterator[Section]:
    """The winner's performance per class; empty without a winner, or for a study of an older
    version.
    """
    if not facts.winner or "by_class" not in facts.winner:
        return
    mistakes = "; ".join(per_class.most_confused(facts, view))
    yield Section(
        "confusion",
        "Confusions of the winner",
        "Images of the test split: one row per true class, one column per predicted class. "
        + (f"Most often: {mistakes}." if mistakes else "It makes no mistakes there."),
        per_class.confusion(view, facts),
    )
    yield Section(
        "recalls",
        "Recall by class",
        "The share of each class's test images that the winner classifies correctly, worst classes "
        "first. Classes with few images have wide intervals.",
        per_class.recalls(facts),
    )


def search_sections(view: StudyView, facts: Facts, others: Sequence[Facts]) -> Iterator[Section]:
    """How the search went."""
    yield Section(
        "history",
        "Best so far",
        ("The line is the best value so far; each dot is a trial at the time of its best report."),
        per_class.mark_baseline(figures.history(facts, others), facts, 2),
        "No trial has a value yet.",
    )
    yield Section(
        "curves",
        "Learning curves",
        "A cross is a trial stopped early; a dot is one that was trained to the end, is still "
        "training or is open. Training after the search, to finish the winner, is not shown.",
        per_class.mark_baseline(figures.curves(view), facts),
    )
    yield Section(
        "stops",
        "Where trials ended",
        "Early stopping spends few epochs on many trials and many epochs on few.",
        figures.stops(facts),
    )
    yield Section(
        "fronts",
        "Quality against cost",
        (
            "The line joins the trials that no other trial beats in both. A trial stopped early "
            "might have improved further."
        ),
        figures.fronts(view, facts),
    )


def parameter_sections(view: StudyView) -> Iterator[Section]:
    """Which settings matter."""
    epochs = effects.epochs_to_compare(view)
    found = {epoch: importances(view, epoch) for epoch in epochs}
    few = "Fewer than ten trials have reached the same epoch."
    yield Section(
        "importance",
        "Which settings matter",
        "The share of the variance between trials that each setting explains. Trials are compared "
        "after the same epoch. A setting that only some trials have is judged among those.",
        figures.importance(found, view.objective),
        few,
    )
    yield Section(
        "parallel",
        "All trials at once",
        (
            "One line per trial; drag along an axis to select trials. A setting that a trial does "
            "not have is shown at <i>none</i>."
        ),
        figures.parallel(view),
        "Fewer than two trials have a value.",
    )
    yield Section(
        "slices",
        "Setting by setting",
        "Darker dots were trained longer; light dots show early values.",
        figures.slices(view),
    )
    if epochs and {"model.depth", "model.n_iter"} <= view.identity.space.parameters.keys():
        yield Section(
            "grid",
            "Depth and iterations",
            f"Mean after epoch {epochs[0]}, which nearly all trials reach. iMixer's n_iter counts "
            f"inner iterations, the others' "
            "whole blocks.",
            effects.grid(view, "model.depth", "model.n_iter", epochs[0]),
            few,
        )


def research_sections(view: StudyView) -> Iterator[Section]:
    """Analyses of the models; sections of settings that the space does not search are omitted."""
    epochs = effects.epochs_to_compare(view)
    space = view.identity.space
    few = "Too few trials."
    for name, title, text in (
        (
            "model.n_iter",
            "Accuracy against n_iter",
            "iMixer's n_iter counts inner iterations, the others' whole blocks.",
        ),
        (
            "model.h_ratio",
            "Accuracy against h_ratio",
            "Width of the hierarchy's hidden layer, as a multiple of the token MLP's.",
        ),
        (
            "model.symmetry_breaking",
            "Accuracy against λ",
            "Strength of the penalty on AsymMixer's symmetry-breaking part; 0 is none.",
        ),
    ):
        if name in space.parameters:
            how = f"{text} Diamonds: means with 95 % intervals. {_CONFOUNDED}"
            yield Section(
                name.rpartition(".")[2], title, how, effects.effect(view, name, epochs), few
            )
    families = _families(view)
    if len(families & {"symmixer", "paramixer", "asymmixer"}) > 1:
        adjusted = effects.at_equal_parameters(view, epochs[0]) if epochs else {}
        yield Section(
            "symmetry",
            "Symmetric, parallel, asymmetric, at equal parameters",
            f"SymMixer has about half the parameters of the others. Right: each family at the same "
            f"number of parameters, from one fitted line per family with a common slope in "
            f"log(parameters), with 95 % intervals. {_CONFOUNDED}",
            measure_figures.symmetry(view, adjusted, epochs[0]) if epochs else None,
            few,
        )
    yield Section(
        "asymmetry",
        "Emergent asymmetry",
        "‖W2 − W1ᵀ‖ / (‖W1‖ + ‖W2‖) after the last epoch: 0 means symmetric, the dotted line "
        "(0.707) two unrelated matrices. SymMixer is 0 by construction and not shown.",
        measure_figures.asymmetry(view),
        "No trial has reported these metrics.",
    )
    if "model.symmetry_breaking" in space.parameters:
        text = (
            "How much of W̃ remains: a large λ approaches SymMixer. Means over blocks; larger dots "
            "were trained longer."
        )
        yield Section("breaking", "Effect of λ on W̃", text, measure_figures.breaking(view), few)
    if "imixer" in families:
        text = (
            "Relative size of the last step of iMixer's iteration: small values are near the fixed "
            "point. With spectral_coeff above 0.8858, contraction is not guaranteed."
        )
        yield Section(
            "residuals",
            "Fixed-point residuals",
            text,
            measure_figures.residuals(view),
            "No iMixer has reported these metrics.",
        )


def _families(view: StudyView) -> set[str]:
    return {str(record.config.get("model.family")) for record in view.counted()}
