"""How fast training batches are made with the papers' recipe: ours, batched, against timm's PIL
pipeline; one core each.

    python benchmarks/input_pipeline.py [--data <image folder>]
            [--threads 1] [--repeats 15] [--device cuda]

The recipe is `PAPER_AUGMENT`: resized crop, flip, rand-m9-mstd0.5-inc1, mixup 0.8 / cutmix 1.0,
erasing 0.25, label smoothing. Rivals:

* ``files``: timm's own loader over the folder of JPEGs (``create_dataset``, ``create_loader``,
  ``Mixup``), in this process;
* ``decoded``: timm's own transforms, collation and ``Mixup`` over images that PIL has decoded and
  holds in memory, which is what ours starts from too: the price of augmentation alone. (To ours,
  decoding is a cost of once a machine, printed above the table.)

All take turns in one process, so that a change in the machine's load meets all of them; each turn
gives one ratio, and the table has the median ratio and its quartiles. At 224 px the images are the
folder's, resized and saved as JPEG first. Without ``--data`` the folder is made up of soft random
shapes. ``MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=4294967296`` in the environment
lets the process keep freed memory, which helps large batches.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from machine import machine
from PIL import Image, ImageFilter
from timm.data import Mixup, create_dataset, create_loader
from torch.utils.data import default_collate

from hopsearch.data import PAPER_AUGMENT, Augment, DataConfig, epoch_batches, load

SIZES = {32: (512, 512), 224: (64, 64)}
"""Pixels a side to (batch, images of timm's turn); ours takes four times as many in its turn."""
KEPT_DECODED = 4096
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def make_folder(folder: Path, size: int = 32, classes: int = 10, images: int = 410) -> Path:
    """A folder of JPEGs of random soft shapes."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True)
        for i in range(images):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
            edges = (
                np.asarray(coarse).astype(int)
                + 60 * (rng.random() > np.add.outer(*rng.random((2, size))))[..., None]
            )
            picture = Image.fromarray(edges.clip(0, 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(0.5)
            )
            picture.save(folder / f"class{number}" / f"{i}.jpg", quality=90)
    return folder


def resized_folder(source: Path, folder: Path, size: int, images: int = 64) -> Path:
    """The first images of each class, at another size."""
    root = source / "train" if (source / "train").is_dir() else source
    for class_folder in sorted(path for path in root.iterdir() if path.is_dir()):
        (folder / class_folder.name).mkdir(parents=True)
        for path in sorted(class_folder.iterdir())[:images]:
            with Image.open(path) as image:
                image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC).save(
                    folder / class_folder.name / path.name, quality=90
                )
    return folder


def ours(source: Path, size: int, batch: int, device: str) -> Batches:
    start = time.perf_counter()
    splits = load(DataConfig(source=str(source), image_size=size))
    print(
        (
            f"{size} px: {len(splits.train) + len(splits.val)} images ready after "
            f"{time.perf_counter() - start:.1f} s"
        ),
        flush=True,
    )
    images, augment = splits.train.to(device), Augment(PAPER_AUGMENT, splits.facts)
    generator = torch.Generator(device).manual_seed(0)
    while True:
        for index_B in epoch_batches(len(images), batch, generator, drop_last=True):
            yield augment(*images.batch(index_B), generator)


def timm_files(source: Path, size: int, batch: int) -> tuple[Batches, Callable]:
    dataset = create_dataset("", root=str(source), split="train", is_training=True)
    loader = create_loader(
        dataset,
        (3, size, size),
        batch,
        is_training=True,
        re_prob=PAPER_AUGMENT.erasing,
        re_mode="pixel",
        auto_augment=PAPER_AUGMENT.randaugment,
        interpolation="random",
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        num_workers=0,
        persistent_workers=False,
        use_prefetcher=False,
        device=torch.device("cpu"),
    )
    spare_pillow(dataset.transform)

    def batches() -> Batches:
        mixup = timm_mixup(len(dataset.reader.class_to_idx))
        while True:
            for x_BCHW, labels_B in loader:
                yield mixup(x_BCHW, labels_B)

    return batches(), dataset.transform


def timm_decoded(source: Path, batch: int, transform: Callable) -> Batches:
    dataset = create_dataset("", root=str(source), split="train", is_training=True)
    rng = np.random.default_rng(0)
    kept = []
    for index in rng.permutation(len(dataset))[:KEPT_DECODED]:
        image, label = dataset[int(index)]
        kept.append((image.copy(), label))
    mixup = timm_mixup(len(dataset.reader.class_to_idx))
    while True:
        order = rng.permutation(len(kept))
        for start in range(0, len(kept) - batch + 1, batch):
            picked = [kept[i] for i in order[start : start + batch]]
            x_BCHW, labels_B = default_collate(
                [(transform(image), label) for image, label in picked]
            )
            yield mixup(x_BCHW, labels_B)


def timm_mixup(classes: int) -> Mixup:
    config = PAPER_AUGMENT
    return Mixup(
        config.mixup, config.cutmix, label_smoothing=config.label_smoothing, num_classes=classes
    )


def spare_pillow(transform: Callable) -> None:
    """timm's strongest posterize keeps 0 bits, which Pillow 13 refuses: keep one, so that the run
    does not end there.
    """
    for step in transform.transforms:
        for op in getattr(step, "ops", []):
            if op.name.startswith("Posterize"):
                op.aug_fn = lambda image, bits, inner=op.aug_fn, **words: inner(
                    image, max(bits, 1), **words
                )


def seconds_an_image(batches: Batches, batch: int, images: int, device: str) -> float:
    start = time.perf_counter()
    for _ in range(max(1, images // batch)):
        next(batches)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / (max(1, images // batch) * batch)


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} [{low:.1f}, {high:.1f}]"


def row(source: Path, size: int, options: argparse.Namespace) -> str:
    batch, images = SIZES[size]
    files, transform = timm_files(source, size, batch)
    rivals = {
        "ours": (ours(source, size, batch, options.device), 4 * images),
        "files": (files, images),
        "decoded": (timm_decoded(source, batch, transform), images),
    }
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(-1, options.repeats):
        # Every other turn backwards, so that nobody always runs first after the same neighbour.
        for name in rivals if turn % 2 else reversed(rivals):
            spent = seconds_an_image(rivals[name][0], batch, rivals[name][1], options.device)
            if turn >= 0:
                times[name].append(spent)
    rates = {name: 1 / statistics.median(spent) for name, spent in times.items()}
    over = {
        name: quartiles([b / a for a, b in zip(times["ours"], times[name], strict=True)])
        for name in ("files", "decoded")
    }
    cells = [
        f"{size}",
        f"{batch}",
        *(f"{rates[name]:,.0f}" for name in rivals),
        over["files"],
        over["decoded"],
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="image folder; made up if not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where ours runs")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine(options.device)}; {options.threads} thread(s); Pillow {Image.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        source = options.data or make_folder(Path(scratch, "made"))
        print(
            f"images: {'of ' + source.name if options.data else 'made up, 32 px'}; "
            f"{options.repeats} turns"
        )
        folders = {32: source} | (
            {224: resized_folder(source, Path(scratch, "large"), 224)}
            if 224 in options.sizes
            else {}
        )
        rows = [row(folders[size], size, options) for size in options.sizes]
    print(
        "\n| px | batch | ours, images/s | timm, files | timm, decoded | over files | over "
        "decoded |\n|" + "---|" * 7
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
