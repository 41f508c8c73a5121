"""``python -m hopsearch.predict model=<folder> <images…> [key=value …]``: the classes of image files by a trained model.

    python -m hopsearch.predict model=model photos/*.png
    python -m hopsearch.predict model=runs/x/winner photos top=1 format=csv

The folder is an exported one (safetensors or ONNX), or a study's or a training's. Every word without = is an image, or a folder
of images; hidden files are passed over. An unreadable image is skipped and named, and the exit code is then 2.
"""

from hopsearch import manual, utf8

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("predict")  # before the imports: they take seconds

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from hopsearch.artifact import Prediction, load_classifier, predict
from hopsearch.command import run_as_program
from hopsearch.config import Settings, parse
from hopsearch.data.listing import IMAGE_SUFFIXES, PassedOver, walk
from hopsearch.errors import ConfigError, DataError
from hopsearch.words import read_words


class PredictConfig(Settings):
    """The model to load and how many classes to print."""

    model: str
    """Folder of the model, or an .onnx file."""
    top: int = Field(default=3, ge=1)
    """Classes that are printed for each image, the likeliest first."""
    format: Literal["text", "csv", "json"] = "text"
    """One line per image; or one CSV line per image and class; or one JSON line per image."""


def images_of(words: Iterable[str], passed: PassedOver) -> list[Path]:
    """The image files that the words name, folders gone through; hidden files and other files in them are passed over.

    Args:
        words: paths of images and of folders of images.
        passed: counts what is passed over.

    Raises:
        DataError: nothing there, no ordinary file, or a folder without images.
    """
    images: list[Path] = []
    for word in words:
        path = Path(word)
        if not path.exists():
            raise DataError(word, "must be an image or a folder of images, got nothing there", "Check the path")
        if not path.is_dir() and not path.is_file():
            rule = "must be an image file or a folder of them, got a pipe, a socket or a device"
            raise DataError(word, rule, "Write it to a file first")
        found = sorted(file for file, _, _ in walk(path, passed, lost_too=True)) if path.is_dir() else [path]
        if not found:
            there = f", got {passed}" if str(passed) else ", got none"
            raise DataError(word, f"the folder must hold images{there}", f"Known: {', '.join(sorted(IMAGE_SUFFIXES))}")
        images += found
    return images


def write(predictions: Iterable[Prediction], top: int, layout: str) -> None:
    """Print predictions as they come."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if layout == "csv":
        table.writerow(["image", "class", "probability"])
    for prediction in predictions:
        shown = list(prediction.classes.items())[:top]
        if layout == "json":
            print(json.dumps({"image": str(prediction.file), "classes": dict(shown)}))
        elif layout == "csv":
            table.writerows([prediction.file, name, f"{probability:.6g}"] for name, probability in shown)
        else:
            print(f"{prediction.file}  " + "  ".join(f"{name} {probability:.4f}" for name, probability in shown))


def main(words: Sequence[str]) -> None:
    """Read the command line and predict."""
    # A path may have an equals sign in it; a file that is there is meant as one.
    images = [word for word in words if "=" not in word or Path(word).exists()]
    config = parse(PredictConfig, read_words([word for word in words if word not in images], PredictConfig), "command line")
    if not images:
        raise ConfigError("command line", "images must be given, got none", "Add their paths: model=<folder> photo.png …")
    passed, unreadable = PassedOver(), list[Path]()

    def skip(file: Path, reason: str) -> None:
        unreadable.append(file)
        print(f"hopsearch: skipped {file}: {reason}", file=sys.stderr)

    files = images_of(images, passed)
    write(predict(load_classifier(config.model), files, skip if len(files) > 1 else None), config.top, config.format)
    done = len(files) - len(unreadable)
    summary = f"classified {done:,} of {len(files):,} images" + (f"; passed over: {passed}" if str(passed) else "")
    print(f"hopsearch: {summary}", file=sys.stderr)
    if unreadable:
        rule = f"every image must be readable, {len(unreadable):,} of {len(files):,} are not, the first is {unreadable[0]}"
        raise DataError("predict", rule, "The others are classified; repair these, or leave them out")


if __name__ == "__main__":
    run_as_program(main, PredictConfig, __doc__ or "")
