"""Draws the picture of docs/how-it-decides.md anew from a real search, and prints what it said.

    .venv/bin/python -m docs.how_it_decides

Takes about five minutes on two cores.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hopsearch.core.intervals import wilson
from hopsearch.study import State, StudyView
from hopsearch.study.sampling.sampler_view import best_by_rung, sampler_view
from hopsearch.study.significance import images_behind
from hopsearch.study.stopping.decisions import in_order, take_in
from hopsearch.study.stopping.pruners import make_pruner
from hopsearch.study.stopping.rung_values import Evidence

matplotlib.use("svg")
DOCS = Path(__file__).parent
RULE = "adaptive_asha"
WORDS = (
    "space=imixer",
    f"pruner={RULE}",
    "trials=40",
    "model.dim=32",
    "model.depth=2",
    "model.patch_size=2",
    "finish=false",
)
COLOURS = {State.COMPLETE: "tab:green", State.PRUNED: "tab:gray", State.FAILED: "tab:red"}
BEST = 8  # trials whose values are compared


def searched(folder: Path) -> tuple[StudyView, str]:
    """The study, and what the search printed."""
    command = [sys.executable, "-m", "hopsearch.tune", *WORDS]
    environment = os.environ | {"PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    (journal,) = folder.rglob("journal.log")
    return StudyView.open(journal.parent), done.stdout


def draw_rungs(axes: Axes, view: StudyView) -> None:
    """Curves, and how well each rung ranks."""
    rule = make_pruner(RULE, view.identity.space.fidelity)
    evidence = Evidence(rule.bracket)
    for record, made in in_order(view.records.values()):
        take_in(evidence, record, made, view.objectives)
    winner = view.ranked()[0]
    for record in view.counted():
        epochs, values = list(record.curve), list(record.curve.values())
        colour, width = COLOURS.get(record.state, "tab:blue"), 2.5 if record is winner else 0.8
        axes.plot(epochs, values, color=colour, linewidth=width, alpha=0.8)
        axes.plot(epochs[-1:], values[-1:], ".", color=colour, markersize=5)
    rungs = view.identity.space.fidelity.rungs
    for rung in rungs[:-2]:
        axes.axvline(rung, color="tab:gray", linestyle=":", linewidth=1)
        tau = rule.tau(rung, evidence)
        words = (
            f"τ {tau.value:.2f} ± {tau.error:.2f}\n{tau.trials} trials"
            if tau.trials > 2
            else "too few\nfor τ"
        )
        axes.text(rung * 1.03, 0.02, words, transform=axes.get_xaxis_transform(), fontsize=7)
    axes.set_xscale("log", base=3)
    axes.set_xticks(rungs, [str(rung) for rung in rungs])
    axes.set(
        xlabel="epoch (dotted: rungs)",
        ylabel=view.objective,
        title="Which rungs: green trained to the end",
    )


def draw_view(axes: Axes, view: StudyView) -> None:
    """Each trial's value where it stopped, and what TPE sees instead."""
    rungs = view.identity.space.fidelity.rungs
    for trial in sampler_view(view.optuna, view.objectives, rungs).get_trials(deepcopy=False):
        known = [
            value
            for value in best_by_rung(trial.intermediate_values, view.sign, rungs)
            if not np.isnan(value)
        ]
        if known and trial.values:
            axes.plot(
                [rungs[len(known) - 1], rungs[-1]],
                [view.sign * known[-1], trial.values[0]],
                ".-",
                linewidth=0.6,
                alpha=0.6,
            )
    axes.set_xscale("log", base=3)
    axes.set_xticks(rungs, [str(rung) for rung in rungs])
    axes.set(
        xlabel="highest rung that a trial came to → the last one", title="What TPE saw: right ends"
    )
    axes.set_ylabel(f"best {view.objective}, measured → expected")


def draw_best(axes: Axes, view: StudyView) -> None:
    """The best trials with their 95 % intervals."""
    best = view.ranked()[:BEST][::-1]
    images = images_behind(view, view.objective)
    assert images is not None
    for place, record in enumerate(best):
        known = record.best(view.sign)
        assert known is not None
        interval = wilson(known[1], images)
        axes.plot([interval.low, interval.high], [place, place], color="tab:gray", linewidth=1)
        axes.plot(known[1], place, "o", color=COLOURS.get(record.state, "tab:blue"))
    axes.set_yticks(
        range(len(best)),
        [f"trial {record.number}, {record.epoch} ep." for record in best],
        fontsize=8,
    )
    axes.set(xlabel=f"{view.objective}, {images:g} images, 95 %", title="Why the winner won")


def main() -> None:
    """Search in a folder of its own, then draw ``docs/how-it-decides.svg``."""
    with tempfile.TemporaryDirectory() as scratch:
        view, printed = searched(Path(scratch))
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(14, 4.2), width_ratios=[3, 2.5, 2]
        )
        draw_rungs(left, view)
        draw_view(middle, view)
        draw_best(right, view)
        figure.tight_layout()
        figure.savefig(DOCS / "how-it-decides.svg", metadata={"Date": None})
        print(printed[-4000:])


if __name__ == "__main__":
    main()
