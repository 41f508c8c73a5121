"""What stands on the page, in order: a section is a title, how to read it, and a figure or what is
missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from hopsearch.reporting import classes, effects, figures, measured
from hopsearch.reporting.facts import Facts
from hopsearch.study import StudyView
from hopsearch.study.importances import importances

_CONFOUNDED = (
    "The sampler prefers what looks good and everything else varies too: read it as a "
    "hint, not as an experiment."
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: for links.
        title: above it.
        text: how to read it.
        figure: None where there is nothing to show yet.
        missing: what is missing then.
    """

    key: str
    title: str
    text: str
    figure: go.Figure | None
    missing: str = "No trial has a value yet."


def winner_sections(view: StudyView, facts: Facts) -> Iterator[Section]:
    """What the winner does with each class; nothing before there is one, or of a study of an older
    version.
    """
    if not facts.winner or "by_class" not in facts.winner:
        return
    mistakes = "; ".join(classes.most_confused(facts, view))
    yield Section(
        "confusion",
        "What the winner confuses",
        "Images of the test split: a row for each true class, a column for each class predicted. "
        + (f"Most often: {mistakes}." if mistakes else "It makes no mistake there."),
        classes.confusion(view, facts),
    )
    yield Section(
        "recalls",
        "Recall by class",
        "The share of each class's test images that the winner recognises, the worst classes "
        "first. Classes with few images have "
        "wide intervals.",
        classes.recalls(facts),
    )


def search_sections(view: StudyView, facts: Facts, others: Sequence[Facts]) -> Iterator[Section]:
    """How the search went."""
    yield Section(
        "history",
        "Best so far",
        (
            "The line is the best value found so far, the dots are the trials, each when it "
            "reported "
            "its best."
        ),
        classes.mark_baseline(figures.history(facts, others), facts, 2),
        "No trial has a value yet.",
    )
    yield Section(
        "curves",
        "Learning curves",
        "A cross is a trial stopped early; a dot one that was trained to the end, still trains or "
        "is open. "
        "What was trained after the search, to finish the winner, is not shown.",
        classes.mark_baseline(figures.curves(view), facts),
    )
    yield Section(
        "stops",
        "Where trials ended",
        "Early stopping spends few epochs on many trials and many on few.",
        figures.stops(facts),
    )
    yield Section(
        "fronts",
        "Quality against cost",
        (
            "The line joins the trials that no other beats in both. A trial that was stopped early "
            "might have become better."
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
        "The share of the differences between trials that each setting explains. Trials are "
        "compared after the same epoch. A "
        "setting that only some trials have is judged among these.",
        figures.importance(found, view.objective),
        few,
    )
    yield Section(
        "parallel",
        "All trials at once",
        (
            "One line per trial; drag along an axis to pick some out. A setting that a trial does "
            "not "
            "have is at <i>none</i>."
        ),
        figures.parallel(view),
        "Fewer than two trials have a value.",
    )
    yield Section(
        "slices",
        "Setting by setting",
        "The darker, the longer trained. Values of light dots are early ones.",
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
    """What the study says of the models; sections of knobs that the space does not search are left
    out.
    """
    epochs, space = effects.epochs_to_compare(view), view.identity.space
    few = "Too few trials to tell."
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
            how = f"{text} Diamonds: means with their 95 % intervals. {_CONFOUNDED}"
            yield Section(
                name.rpartition(".")[2], title, how, effects.effect(view, name, epochs), few
            )
    families = _families(view)
    if len(families & {"symmixer", "paramixer", "asymmixer"}) > 1:
        adjusted = effects.at_equal_parameters(view, epochs[0]) if epochs else {}
        yield Section(
            "symmetry",
            "Symmetric, parallel, asymmetric, at equal parameters",
            "SymMixer has about half of the others' parameters. Right: each family at the same "
            "number of them, by one line per "
            f"family with a common slope in log(parameters), with 95 % intervals. {_CONFOUNDED}",
            measured.symmetry(view, adjusted, epochs[0]) if epochs else None,
            few,
        )
    yield Section(
        "asymmetry",
        "Emergent asymmetry",
        "‖W2 − W1ᵀ‖ / (‖W1‖ + ‖W2‖) after the last epoch: 0 is symmetric, the dotted line (0.707) "
        "is two unrelated matrices. "
        "SymMixer is 0 by construction and left out.",
        measured.asymmetry(view),
        "No trial has reported these metrics.",
    )
    if "model.symmetry_breaking" in space.parameters:
        text = (
            "How much of it is left: large λ tends to SymMixer. Means over blocks; larger dots "
            "are trained longer."
        )
        yield Section("breaking", "What λ leaves of W̃", text, measured.breaking(view), few)
    if "imixer" in families:
        text = (
            "Relative size of the last step of iMixer's iteration: small is near the fixed point. "
            "With a spectral_coeff above "
            "0.8858 a contraction is not certain."
        )
        yield Section(
            "residuals",
            "Fixed-point residuals",
            text,
            measured.residuals(view),
            "No iMixer has reported these metrics.",
        )


def _families(view: StudyView) -> set[str]:
    return {str(record.config.get("model.family")) for record in view.counted()}
