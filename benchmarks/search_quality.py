"""How many epochs a search takes to find a good model: our combinations against others, many seeds,
in simulated time.

    python benchmarks/search_quality.py run [--problems digits …]
            [--contestants tpe+asha …] [--workers 1 4 16] [--seeds 30]
            [--jobs 2] [--rivals-python <environment of rivals.txt>/bin/python]
    python benchmarks/search_quality.py report

`run` adds a line a search to ``results/search_quality.jsonl``, and leaves out what is there;
`report` prints the tables and draws a picture a problem. Contestants: ``random`` (full budget),
``random+asha``, ``one_epoch``, ``optuna`` (TPE and its SuccessiveHalvingPruner), ``ray``
(OptunaSearch and ASHAScheduler), every ``sampler+pruner`` of ours, and, with `--rivals-python`,
those of `packaged_rival.PACKAGED`.

A search ends when it has a trial within the problem's target of the best there is (0.5 points on
the tables), or after 1350 epochs, which is fifty full trainings; random search at full budget after
four times as many. What counts is the best value reported so far, whatever its epoch. No search is
given the space's first points.
"""

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from contestants import Setting, add_arguments, events
from landscapes import PROBLEMS, Problem
from packaged_rival import PACKAGED
from recorded import add, read
from scipy.stats import mannwhitneyu

from hopsearch.core.seeds import derive
from hopsearch.orchestration.simulation.simulator import Event, Simulation
from hopsearch.study import MEMORY, Identity, Study

matplotlib.use("svg")
RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "search_quality.jsonl"
BUDGET = 1350
EARLY = 270  # epochs, ten full trainings: what is missing to the best then is told beside
RIVALS = ("optuna", "ray", *PACKAGED)
DEFAULT = "tpe_gp+adaptive_asha"
BASELINES = ("random", "random+asha", "one_epoch", *RIVALS)
NAMES = {"random": "random+none", "one_epoch": "random+one_epoch"}
CONTESTANTS = [
    "random",
    "random+asha",
    "one_epoch",
    "optuna",
    "ray",
    "random+asha_promotion",
    DEFAULT,
    "tpe+asha",
    "tpe+asha_promotion",
    "tpe+hyperband",
    "tpe+pasha",
]
# trials of which one_epoch trains the best to the end; if they are not good enough, another hundred
_A_ROUND = 100


def ours(problem: Problem, words: str, workers: int, seed: int) -> Iterator[Event]:
    """A search by our own study, without end."""
    sampler, pruner = words.split("+")
    trials, spent = _A_ROUND if pruner == "one_epoch" else 10**9, 0
    for turn in itertools.count():
        identity = Identity(
            "quality", problem.space, {}, "default", {}, derive(seed, turn) if turn else seed
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            Study(Path(folder) / "study", identity, sampler, pruner, MEMORY) as study,
        ):
            for event in Simulation(study, problem.landscape, workers, trials).events():
                yield Event(
                    event.clock, spent + event.epochs, event.number, event.epoch, event.value
                )
            spent += study.epochs


def search(
    python: Path | None, name: str, contestant: str, workers: int, seed: int
) -> dict[str, Any]:
    """One search: what the best value was after how many epochs, where it rose."""
    problem = PROBLEMS[name](seed)
    began = time.perf_counter()
    if contestant in RIVALS:
        heard: Iterable[Event] = events(
            contestant, Setting(problem.space, problem.landscape, workers, BUDGET, python), seed
        )
    else:
        heard = ours(problem, NAMES.get(contestant, contestant), workers, seed)
    best, rises, clock = -float("inf"), list[tuple[int, float]](), 0.0
    for event in heard:
        if event.epochs > (4 * BUDGET if contestant == "random" else BUDGET):
            break
        clock = event.clock
        if event.value is not None and event.value > best:
            best = event.value
            rises.append((event.epochs, round(best, 5)))
        if best >= problem.best - problem.target:
            break
    found = rises[-1][0] if best >= problem.best - problem.target else None
    facts = {
        "problem": name,
        "contestant": contestant,
        "workers": workers,
        "seed": seed,
        "found": found,
    }
    return facts | {
        "clock": round(clock, 1),
        "rises": rises,
        "seconds": round(time.perf_counter() - began, 2),
    }


def key(line: dict[str, Any]) -> tuple[str, str, int, int]:
    """What a line is of."""
    return line["problem"], line["contestant"], line["workers"], line["seed"]


def run(options: argparse.Namespace) -> None:
    """Do what is missing, seed by seed, so that an interrupted run has a few of everything."""
    seeds = range(options.seed, options.seed + options.seeds)
    wanted = itertools.product(seeds, options.problems, options.workers, options.contestants)
    searches = ((name, contestant, workers, seed) for seed, name, workers, contestant in wanted)
    add(
        LINES,
        functools.partial(_search, options.rivals_python),
        searches,
        {key(line) for line in read(LINES)},
        options.jobs,
    )


def _search(python: Path | None, what: Sequence[Any]) -> dict[str, Any]:
    return search(python, *what)


def quartiles(found: list[int | None]) -> tuple[float, float, float]:
    """Median and quartiles of the epochs; a search that did not find it took more than all."""
    values = sorted(float("inf") if epochs is None else float(epochs) for epochs in found)
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = (values[round(share * (len(values) - 1))] for share in (0.25, 0.5, 0.75))
    return middle, low, high


def curve(line: dict[str, Any], grid: list[int], worst: float) -> list[float]:
    """The best value so far at each of ``grid``; ``worst`` before the first."""
    values, rises, best = [], iter([*line["rises"], (10**9, 0.0)]), worst
    after, value = next(rises)
    for epochs in grid:
        while after <= epochs:
            best = value
            after, value = next(rises)
        values.append(best)
    return values


def draw(name: str, lines: list[dict[str, Any]]) -> None:
    """A picture: the median of what is missing to the best, over the epochs spent, at four
    workers.
    """
    problem = PROBLEMS[name](0)
    best = problem.best
    grid = [round(10 ** (0.05 * k)) for k in range(64)]
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for contestant in dict.fromkeys(line["contestant"] for line in lines):
        chosen = [
            line for line in lines if line["contestant"] == contestant and line["workers"] == 4
        ]
        if len(chosen) < 5:
            continue
        missing = [[best - value for value in curve(line, grid, 0.0)] for line in chosen]
        middle = [max(1e-3, statistics.median(column)) for column in zip(*missing, strict=True)]
        style = "--" if contestant in BASELINES else "-"
        axes.plot(grid, middle, style, label=f"{contestant} ({len(chosen)} seeds)", linewidth=1.4)
    axes.axhline(problem.target, color="grey", linewidth=0.6)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="epochs spent",
        ylabel="missing to the best (median)",
        title=f"{name}, 4 workers",
    )
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(RESULTS / f"search_quality_{name}.svg", metadata={"Date": None})
    plt.close(figure)


def report() -> None:
    """Print a table a problem, and draw a picture of each."""
    lines = read(LINES)
    goals(lines)
    for name in [name for name in PROBLEMS if any(line["problem"] == name for line in lines)]:
        own = [line for line in lines if line["problem"] == name]
        draw(name, own)
        counts = sorted({line["workers"] for line in own})
        print(f"\n## {name}\n")
        heads = (f"{count} worker{'s' * (count > 1)} | missing after {EARLY}" for count in counts)
        print("| contestant | " + " | ".join(heads) + " |")
        print("|---" * (1 + 2 * len(counts)) + "|")
        for contestant in dict.fromkeys(line["contestant"] for line in own):
            cells = [
                shown([line for line in own if key(line)[1:3] == (contestant, count)])
                for count in counts
            ]
            print(f"| {contestant} | " + " | ".join(cells) + " |")


def goals(lines: list[dict[str, Any]]) -> None:
    """Print the default's median against random's and the best rival's, and how sure it is that it
    is not theirs.
    """
    print(
        f"\n## {DEFAULT}\n\n| problem | workers | of random's | of the best rival's | and that is "
        f"| p | p to random+asha |"
    )
    print("|---" * 7 + "|")
    for name, count in dict.fromkeys((line["problem"], line["workers"]) for line in lines):
        found = {
            contestant: [
                line["found"] for line in lines if key(line)[:3] == (name, contestant, count)
            ]
            for contestant in (DEFAULT, *BASELINES)
        }
        found = {contestant: epochs for contestant, epochs in found.items() if epochs}
        rivals = [contestant for contestant in found if contestant not in (DEFAULT, "random")]
        if DEFAULT in found and "random" in found and rivals:
            best = min(rivals, key=lambda contestant: quartiles(found[contestant]))
            ours, random, theirs = (
                quartiles(found[contestant])[0] for contestant in (DEFAULT, "random", best)
            )
            ratios = f"{ratio(ours, random)} | {ratio(ours, theirs)} | {best}"
            tests = " | ".join(
                likelihood(found[DEFAULT], found.get(contestant, []))
                for contestant in (best, "random+asha")
            )
            print(f"| {name} | {count} | {ratios} | {tests} |")


def ratio(ours: float, theirs: float) -> str:
    """Of two medians, either of which may be more than all epochs there were."""
    if ours == float("inf"):
        return "both ∞" if theirs == ours else "∞"
    return f"{ours / theirs:.2f}" if theirs < float("inf") else f"< {ours / BUDGET:.2f}"


def likelihood(ours: list[int | None], theirs: list[int | None]) -> str:
    """The probability of such a difference by chance (Mann and Whitney's test, two-sided), and
    whose epochs are fewer.
    """
    if not theirs:
        return ""
    mine, others = (
        [2 * 4 * BUDGET if epochs is None else epochs for epochs in found]
        for found in (ours, theirs)
    )
    statistic, p = mannwhitneyu(mine, others)
    return f"{p:.3f} {'better' if statistic < len(mine) * len(others) / 2 else 'worse'}"


def shown(lines: list[dict[str, Any]]) -> str:
    """Median and quartiles of the epochs, how many did not find it; and the median of what is
    missing early on.
    """
    if not lines:
        return " | "
    middle, low, high = (
        f"{value:.0f}" if value < float("inf") else "∞"
        for value in quartiles([line["found"] for line in lines])
    )
    missed = sum(line["found"] is None for line in lines)
    early = [
        PROBLEMS[line["problem"]](line["seed"]).best - curve(line, [EARLY], 0.0)[0]
        for line in lines
    ]
    told = f"{middle} [{low}, {high}], {len(lines)} seeds" + (f", {missed} not" if missed else "")
    return f"{told} | {statistics.median(early):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    add_arguments(parser, CONTESTANTS, [1, 4, 16], 30)
    options = parser.parse_args()
    run(options) if options.verb == "run" else report()


if __name__ == "__main__":
    main()
