"""Tables of real learning curves: configurations drawn from a space, each trained to its end, every
epoch kept.

    python benchmarks/record_tables.py --table digits_few [--count 640] [--minutes 60] [--shard 0/1]
    python benchmarks/record_tables.py --table digits
    python benchmarks/record_tables.py --table cifar10 --data <CIFAR-10 folder> --count 104

Other scripts search these tables instead of training (`search_quality.py`), so that a search takes
a second and thirty seeds of it are affordable. Configuration i follows from (table, i) alone and
its training's seed from (table, i, repeat); every 8th is trained with two seeds, which tells the
noise. A run goes on where the last one ended; several may share the work (``--shard k/n``).
Configurations above the table's limit of operations are passed over, as ``constraint.max_flops``
would do.
"""

import argparse
import importlib.metadata
import platform
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from machine import machine

from hopsearch.core.errors import TrialFailure
from hopsearch.core.seeds import derive
from hopsearch.data import DataConfig, ImageSet, Splits, load
from hopsearch.orchestration.simulation.tables import read_table, write_table
from hopsearch.space import Space, load_space
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.cost_estimate import estimate_cost

TABLES = Path(__file__).parent / "tables"
SECOND_SEED_EVERY = 8


@dataclass(frozen=True)
class Plan:
    """What a table is made of.

    Attributes:
        space: the search space.
        train, val: images at most in either part, a stratified share of the data set's; None: all.
            Training images that are not trained on are measured on, where ``val`` asks for more
            than the validation split has.
        max_flops: operations of one image's forward pass that a configuration may cost, from a
            number on.
    """

    space: str
    train: int | None = None
    val: int | None = None
    max_flops: Mapping[int, float] = field(default_factory=lambda: {0: float("inf")})

    def limit(self, number: int) -> float:
        """Operations that configuration ``number`` may cost."""
        return next(
            limit
            for start, limit in sorted(self.max_flops.items(), reverse=True)
            if number >= start
        )


PLANS = {
    # Few images to train on, many to measure on: noise would else hide the differences. With all
    # training images every second configuration is above 0.97, and half a point is one of the 228
    # images to measure on.
    "digits_few": Plan("hopfield", train=320, val=900, max_flops={0: 1.5e6}),
    # Dear ones first, as far as there was time for them on one core.
    "digits": Plan("hopfield", max_flops={0: 3e6, 1100: 1.2e6}),
    "cifar10": Plan("hopfield", train=768, val=1000, max_flops={0: 8e6}),
}


def subset(splits: Splits, plan: Plan) -> Splits:
    """The first images of each part; its order is stratified, so that a prefix is too."""
    images_NCHW, labels_N = splits.train.images_NCHW, splits.train.labels_N
    count, wanted = plan.train or len(labels_N), plan.val or len(splits.val)
    train = ImageSet(images_NCHW[:count].clone(), labels_N[:count].clone())
    val_NCHW = torch.cat([splits.val.images_NCHW, images_NCHW[count:]])[:wanted]
    val = ImageSet(val_NCHW, torch.cat([splits.val.labels_N, labels_N[count:]])[:wanted])
    return Splits(
        replace(splits.facts, n_train=len(train), n_val=len(val)), train, val, splits.read_test
    )


def resolve_space(plan: Plan, splits: Splits) -> Space:
    """The plan's space for its images."""
    facts = splits.facts
    about = {
        "image_size": facts.image_size,
        "channels": facts.channels,
        "classes": len(facts.classes),
        "n_train": facts.n_train,
    }
    return load_space(plan.space).resolve({f"data.{key}": value for key, value in about.items()})


def points(
    name: str, space: Space, plan: Plan, splits: Splits
) -> Iterator[tuple[int, dict[str, Any], dict[str, int]]]:
    """Configurations within the limit, for ever: number, configuration, cost."""
    number = 0
    while True:
        config = space.draw(random.Random(derive(name, number)))
        cost = estimate_cost(resolve(config, splits.facts, 0))
        if cost.flops <= plan.limit(number):
            yield (
                number,
                config,
                {"n_params": cost.n_params, "flops": cost.flops, "memory": cost.memory},
            )
        number += 1


def train(config: dict[str, Any], seed: int, epochs: int, splits: Splits) -> dict[str, Any]:
    """Train to the end, or to where it diverges."""
    run = ImageTrialRun(resolve(config | {"train.epochs": epochs}, splits.facts, seed), splits)
    failure = ""
    try:
        while not run.done:
            run.step()
    except TrialFailure as error:
        failure = error.reason
    columns = {"val_acc": 5, "val_loss": 4, "seconds": 3}
    curves = {
        name: [round(row[name], digits) for row in run.history] for name, digits in columns.items()
    }
    return curves | ({"failure": failure} if failure else {})


def header(name: str, plan: Plan, space: Space, splits: Splits) -> dict[str, Any]:
    """What holds for the whole table."""
    facts = splits.facts
    versions = {
        package: importlib.metadata.version(package)
        for package in ("torch", "timm", "scikit-learn")
    }
    return {
        "table": name,
        "space": space.to_dict(),
        "data": {
            "name": facts.name,
            "image_size": facts.image_size,
            "n_train": facts.n_train,
            "n_val": facts.n_val,
        },
        "max_flops": plan.max_flops,
        "versions": {"python": platform.python_version(), **versions},
        "machine": machine().partition(", load")[0],
    }


def row_key(row: dict[str, Any]) -> tuple[int, int]:
    """Number of the configuration, repeat."""
    return row["number"], row["repeat"]


def known(file: Path) -> set[tuple[int, int]]:
    """What is in the table already."""
    return {row_key(row) for row in read_table(file)[1]} if file.exists() else set()


def add(file: Path, head: dict[str, Any], row: dict[str, Any]) -> int:
    """Add a row to the table, whole or not at all; returns how many there are."""
    with FileLock(file.with_name(f".{file.name}.lock")):
        rows = (
            [other for other in read_table(file)[1] if row_key(other) != row_key(row)]
            if file.exists()
            else []
        )
        rows = sorted([*rows, row], key=row_key)
        write_table(file, head, rows)
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", choices=PLANS, default="digits_few")
    parser.add_argument("--data", default="digits", help="the table's images, as data.source")
    parser.add_argument("--count", type=int, default=640, help="configurations")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no training after so many"
    )
    parser.add_argument(
        "--shard", default="0/1", help="this run's share of the configurations: k/n"
    )
    options = parser.parse_args()
    shard, shards = (int(word) for word in options.shard.split("/"))
    torch.set_num_threads(1)
    plan, began = PLANS[options.table], time.monotonic()
    splits = subset(load(DataConfig(source=options.data)), plan)
    space = resolve_space(plan, splits)
    file, head = TABLES / f"{options.table}.jsonl.gz", header(options.table, plan, space, splits)
    for turn, (number, config, cost) in enumerate(points(options.table, space, plan, splits)):
        if turn >= options.count or time.monotonic() - began > 60 * options.minutes:
            break
        for repeat in (0, 1) if turn % SECOND_SEED_EVERY == 0 else (0,):
            if turn % shards != shard or (number, repeat) in known(file):
                continue
            seed, start = derive(options.table, number, repeat), time.monotonic()
            params = {name: config[name] for name in space.active(config)}
            curves = train(config, seed, space.fidelity.max_epochs, splits)
            row = {
                "number": number,
                "repeat": repeat,
                "seed": seed,
                "params": params,
                "cost": cost,
                **curves,
            }
            count = add(file, head, row)
            best = max(row["val_acc"], default=0.0)
            print(
                (
                    f"{count} rows; {number}.{repeat}: best {best:.4f}, "
                    f"{time.monotonic() - start:.1f} s"
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
