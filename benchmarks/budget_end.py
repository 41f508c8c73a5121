"""With what a search ends when its budget is known to it, and when it is cut off: see
`hopsearch.study.stopping.finalists`.

    python benchmarks/budget_end.py run --outside <folder of lcbench.py>
            [--problems digits cifar10 lcbench] [--contestants …]
            [--workers 4] [--seeds 8] [--jobs 2]
    python benchmarks/budget_end.py report

`run` adds a line a search to ``results/budget_end.jsonl``, and leaves out what is there. The budget
is ten full trainings' worth of epochs for four workers, and as much a worker for any other number.
Told is what is missing to the best value that there is (on LCBench the normalised regret of
`outside_quality.py`, rungs from epoch 3): at the best of any epoch, and at the best of those that
were trained to full epochs.
"""

import argparse
import functools
import itertools
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from landscapes import PROBLEMS
from outside import LCBench, instances
from recorded import add, read

from hopsearch.orchestration.simulation.simulator import Landscape, Simulation
from hopsearch.space import Space
from hopsearch.study import MEMORY, Identity, Study

LINES = Path(__file__).parent / "results" / "budget_end.jsonl"
LCBENCH, FIRST = "lcbench", 3
FULL, WORKERS = 10, 4
KEY = ("problem", "instance", "contestant", "workers", "seed", "told")


def problem_of(
    folder: Path | None, name: str, instance: str, seed: int
) -> tuple[Space, Landscape, Callable[[float], float]]:
    """What is searched, and what is missing at a value."""
    if name == LCBENCH:
        assert folder is not None
        outside = LCBench(folder, instance, FIRST)
        return outside.space, outside, outside.regret
    problem = PROBLEMS[name](seed)
    return problem.space, problem.landscape, lambda value: problem.best - value


def search(folder: Path | None, what: Sequence[Any]) -> dict[str, Any]:
    """One search, and with what it ended.

    Args:
        folder: where the reader of LCBench lies.
        what: as of `KEY`.
    """
    name, instance, contestant, workers, seed, told = what
    space, landscape, missing = problem_of(folder, name, instance, seed)
    last = space.fidelity.max_epochs
    budget = FULL * last * workers // WORKERS
    sampler, pruner = contestant.split("+")
    identity = Identity("end", space, {}, "default", {}, seed)
    with (
        tempfile.TemporaryDirectory() as place,
        Study(Path(place) / "study", identity, sampler, pruner, MEMORY) as study,
    ):
        for _ in Simulation(
            study, landscape, workers, 10**9, epochs=budget if told else None
        ).events():
            if study.epochs >= budget + workers - 1:  # those that ran finish their epochs
                break
        ranked = study.ranked()
        full = [record for record in ranked if record.epoch == last]
        found = [
            round(missing(study.value(best[0])), 5) if best else None for best in (ranked, full)
        ]
        counts = {
            "trials": len(study.counted()),
            "full": len(full),
            "sent": sum(one.sent_on(last) for one in study.counted()),
        }
    return dict(zip(KEY, what, strict=True)) | counts | {"any": found[0], "at_full": found[1]}


def run(options: argparse.Namespace) -> None:
    """Do what is missing, seed by seed, so that an interrupted run has a few of everything."""
    places = {
        name: instances(options.outside) if name == LCBENCH else [""] for name in options.problems
    }
    seeds = range(options.seed, options.seed + options.seeds)
    wanted = (
        (name, instance, contestant, workers, seed, told)
        for seed, name, contestant, workers in itertools.product(
            seeds, options.problems, options.contestants, options.workers
        )
        for instance, told in itertools.product(places[name], (False, True))
    )
    done = {tuple(line[name] for name in KEY) for line in read(LINES)}
    add(LINES, functools.partial(search, options.outside), wanted, done, options.jobs)


def report() -> None:
    """Print the table."""
    lines = read(LINES)
    values = ("best of any epoch", "best at full epochs")
    heads = (
        "problem, workers",
        "search",
        "budget",
        *values,
        "at full epochs",
        "sent on",
        "trials",
        "searches",
    )
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    kinds = dict.fromkeys(
        (line["problem"], line["workers"], line["contestant"], line["told"]) for line in lines
    )
    for name, workers, contestant, told in sorted(kinds):
        own = [
            line
            for line in lines
            if (line["problem"], line["workers"], line["contestant"]) == (name, workers, contestant)
        ]
        own = [line for line in own if line["told"] == told]
        reached = [line["at_full"] for line in own if line["at_full"] is not None]
        full = f"{statistics.mean(reached):.4f}" if reached else "none"
        full += f" ({len(own) - len(reached)} without any)" if len(reached) < len(own) else ""
        means = [
            f"{statistics.mean(line[what] for line in own):.1f}"
            for what in ("full", "sent", "trials")
        ]
        ends = [line["any"] for line in own if line["any"] is not None]
        found = f"{f'{statistics.mean(ends):.4f}' if ends else 'none'} | {full}"
        words = (
            f"{name}, {workers} | {contestant} | {'known' if told else 'cut off'} | {found} | "
            f"{' | '.join(means)} | {len(own)}"
        )
        print(f"| {words} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--outside", type=Path, help="the folder of lcbench.py")
    parser.add_argument("--problems", nargs="+", default=["digits", "cifar10", LCBENCH])
    parser.add_argument(
        "--contestants", nargs="+", default=["tpe_gp+adaptive_asha"], help="sampler+pruner"
    )
    parser.add_argument("--workers", nargs="+", type=int, default=[WORKERS])
    parser.add_argument("--seeds", type=int, default=8, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    if options.verb == "report":
        report()
    elif LCBENCH in options.problems and options.outside is None:
        parser.error("lcbench needs --outside")
    else:
        run(options)


if __name__ == "__main__":
    main()
