"""``python -m hopsearch.predict model=<folder> <images…> [key=value …]``: classify image files with
a trained model.

    python -m hopsearch.predict model=model photos/*.png
    python -m hopsearch.predict model=runs/x/winner photos top=1 format=csv

The folder is an exported one (safetensors or ONNX), or that of a study or training. Every argument
without = is an image, or a folder of images; hidden files are ignored. Unreadable or missing files
are skipped and reported, with exit code 2.
"""

from hopsearch.command_line import manual, utf8

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("predict")  # before the imports: they take seconds

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Literal

from pydantic import Field

from hopsearch.artifact import Prediction, load_classifier, predict
from hopsearch.command_line.command import run_as_program
from hopsearch.command_line.words import read_words
from hopsearch.core.config import Settings, parse
from hopsearch.core.errors import ConfigError, DataError
from hopsearch.data.folders.listing import IMAGE_SUFFIXES, PassedOver, walk


class PredictConfig(Settings):
    """The model to load and how many classes to print."""

    model: str
    """Folder of the model, or an .onnx file."""
    top: int = Field(default=3, ge=1)
    """Number of classes to print per image, likeliest first."""
    format: Literal["text", "csv", "json"] = "text"
    """One line per image; or one CSV line per image and class; or one JSON line per image."""


Skip = Callable[[Path, str], None]
"""Called with what is skipped, and why."""


def images_of(words: Sequence[str], passed: PassedOver, skip: Skip) -> list[Path]:
    """The image files that the arguments name, including those in folders; hidden files and other
    files are ignored.

    Args:
        words: paths of images and of folders of images.
        passed: counts ignored files.
        skip: called with an argument that names no image, and with an unreadable folder; the others
            are used.

    Raises:
        DataError: the only argument does not exist, is not a regular file, or is a folder without
            images.
    """
    images: list[Path] = []
    for word in words:
        try:
            images += _images_of(word, passed, skip)
        except DataError as error:
            if len(words) == 1:
                raise
            skip(Path(word), error.rule)
    return images


def _images_of(word: str, passed: PassedOver, skip: Skip) -> list[Path]:
    path = Path(word)
    try:
        kind = path.stat().st_mode
    except OSError as error:
        found = "nothing there" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(
            word, f"must be an image or a folder of images, got {found}", "Check the path"
        ) from None
    if S_ISREG(kind):
        return [path]
    if not S_ISDIR(kind):
        rule = "must be an image file or a folder of images, got a pipe, a socket or a device"
        raise DataError(word, rule, "Save it to a file first")
    found_here = PassedOver()
    images = sorted(file for file, _, _ in walk(path, found_here, lost_too=True, closed=skip))
    if not images:
        there = f", got {found_here}" if str(found_here) else ", got none"
        raise DataError(
            word,
            f"the folder must contain images{there}",
            f"Known: {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    passed.add(found_here)
    return images


def write(predictions: Iterable[Prediction], top: int, layout: str) -> None:
    """Print predictions as they arrive."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if layout == "csv":
        table.writerow(["image", "class", "probability"])
    for prediction in predictions:
        shown = list(prediction.classes.items())[:top]
        if layout == "json":
            print(json.dumps({"image": str(prediction.file), "classes": dict(shown)}))
        elif layout == "csv":
            table.writerows(
                [prediction.file, name, f"{probability:.6g}"] for name, probability in shown
            )
        else:
            print(
                f"{prediction.file}  "
                + "  ".join(f"{name} {probability:.4f}" for name, probability in shown)
            )


def main(words: Sequence[str]) -> None:
    """Read the command line and predict."""
    # A path may contain an equals sign; if such a file exists, it is a path.
    images = [word for word in words if "=" not in word or Path(word).exists()]
    config = parse(
        PredictConfig,
        read_words([word for word in words if word not in images], PredictConfig),
        "command line",
    )
    if not images:
        raise ConfigError(
            "command line",
            "at least one image is required, got none",
            "Add their paths: model=<folder> photo.png …",
        )
    passed = PassedOver()
    left_out = list[Path]()

    def skip(path: Path, reason: str) -> None:
        left_out.append(path)
        print(f"hopsearch: skipped {path}: {reason}", file=sys.stderr)

    files = images_of(images, passed, skip)
    gone = len(left_out)
    alone = len(files) == 1 and not gone
    write(
        predict(load_classifier(config.model), files, None if alone else skip),
        config.top,
        config.format,
    )
    done = len(files) - len(left_out) + gone
    summary = f"classified {done:,} of {len(files):,} images" + (
        f"; ignored: {passed}" if str(passed) else ""
    )
    print(f"hopsearch: {summary}", file=sys.stderr)
    if left_out:
        raise _incomplete(left_out, gone, len(files), done)


def _incomplete(left_out: Sequence[Path], gone: int, files: int, done: int) -> DataError:
    """The final error: the first ``gone`` of the skipped items are arguments and folders, the
    others images.
    """
    bad = len(left_out) - gone
    parts = [
        f"every path must lead to readable images, got {gone:,} that do not, first {left_out[0]}"
    ] * bool(gone)
    if bad:
        parts.append(
            f"every image must be readable, got {bad:,} of {files:,} unreadable, first "
            f"{left_out[gone]}"
        )
    others = "The others are classified; repair" if done else "Nothing is classified; repair"
    return DataError("predict", "; ".join(parts), f"{others} these, or leave them out")


if __name__ == "__main__":
    run_as_program(main, PredictConfig, __doc__ or "")
