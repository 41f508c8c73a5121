"""Classes of different sizes: a real search of an imbalanced folder, and what is said of it
everywhere.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hopsearch import report
from hopsearch.data import DataConfig, load
from hopsearch.export import write_export
from hopsearch.study import StudyView
from hopsearch.study.significance import baseline, images_behind, no_better, tied, winner_verdicts
from hopsearch.tasks.images import METRICS
from tests.conftest import search_little
from tests.test_report import facts_in, figures_in, written

CLASSES = {"bag": 20, "coat": 40, "t-shirt": 140}
SPACE = {
    "objective": "val_balanced_acc",
    "fidelity": {"min_epochs": 3, "max_epochs": 3, "reduction": 3},
    "fixed": {
        "model.family": "mlpmixer",
        "model.depth": 1,
        "model.dim": 16,
        "model.patch_size": 4,
        "optim.batch_size": 16,
        "optim.min_lr": 0.0,
        "train.epochs": 3,
    },
    "parameters": {
        "optim.lr": {"type": "categorical", "choices": [1e-8, 1e-2]},
        "train.class_weights": {"type": "categorical", "choices": ["none", "balanced"]},
    },
    "first": [
        {"optim.lr": lr, "train.class_weights": rule}
        for lr in (1e-8, 1e-2)
        for rule in ("none", "balanced")
    ],
}


def photos(root: Path) -> Path:
    """Noisy images, each class of its own brightness; seven in ten are t-shirts."""
    random = np.random.default_rng(0)
    for level, (name, count) in enumerate(CLASSES.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.normal(80 + 45 * level, 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    source, cache = (
        photos(tmp_path_factory.mktemp("data") / "photos"),
        tmp_path_factory.mktemp("cache"),
    )
    config = DataConfig(source=str(source), cache=str(cache))
    return search_little(tmp_path_factory.mktemp("runs") / "photos", load(config), SPACE, 4, config)


def test_the_search_is_for_the_balanced_accuracy(folder):
    view = StudyView.open(folder)
    best, worst = view.ranked()[0], view.ranked()[-1]
    assert (best.params["optim.lr"], view.objective) == (1e-2, "val_balanced_acc")
    recalls = [best.peak[f"recall/{name}"] for name in CLASSES]
    assert view.value(best) == pytest.approx(sum(recalls) / 3, abs=1e-4)
    assert best.peak["val_worst_recall"] == pytest.approx(min(recalls), abs=1e-5)
    assert view.value(worst) == pytest.approx(1 / 3, abs=0.05)
    assert not any(name.startswith("recall/") for name in best.metrics), (
        "the journal keeps recalls of the best epoch only"
    )


def test_a_constant_answer_is_named_and_told_from_results(folder, capsys):
    view = StudyView.open(folder)
    constant = baseline(view)
    assert (constant.metric, constant.value, str(constant)) == (
        "val_balanced_acc",
        1 / 3,
        "always predicting t-shirt",
    )
    blind = [record.number for record in no_better(view)]
    assert {view.records[number].params["optim.lr"] for number in blind} == {1e-8}
    report.main(["study=photos", f"storage={folder.parent}", "format=json"])
    text, facts = capsys.readouterr().out, json.loads((folder / "report.json").read_text())
    assert (
        "no better than always predicting t-shirt, which gives val_balanced_acc 0.3333 (within "
        "chance)" in text
    )
    assert facts["baseline"]["trials"] == blind
    assert " val_acc " in text, "the plain accuracy stands beside the balanced one"


def test_the_winner_tells_recall_by_class_and_what_it_confuses(folder, digits, tmp_path):
    view = StudyView.open(folder)
    winner = view.winner
    test = winner["by_class"]["test"]
    assert test["images"] == [3, 6, 21]
    assert winner["test_acc"] == sum(test["hits"]) / 30
    assert winner["test_balanced_acc"] == pytest.approx(
        sum(hit / count for hit, count in zip(*test.values(), strict=True)) / 3
    )
    assert sum(count for _, _, count in winner["confusions"]) == 30 - sum(test["hits"])
    facts, page = facts_in(written(folder)), written(folder)
    figures = figures_in(page)
    assert [row["class"] for row in facts["winner"]["recalls"]] == sorted(
        CLASSES,
        key=lambda name: (
            test["hits"][list(CLASSES).index(name)] / test["images"][list(CLASSES).index(name)]
        ),
    )
    cells = figures["confusion"]["data"][0]["text"]
    assert sum(int(cell) for row in cells for cell in row if cell) == 30, (
        "every test image is in the matrix once"
    )
    assert "always t-shirt: 0.3333" in json.dumps(figures["curves"]["layout"])
    assert (
        len(
            [
                shape
                for shape in figures["history"]["layout"]["shapes"]
                if shape.get("line", {}).get("dash") == "dash"
            ]
        )
        == 2
    )
    assert {"confusion", "recalls"} <= figures.keys()
    assert "| class | images | recall | 95 % |" in written(folder, "format=md")
    card = (write_export(view, tmp_path / "model") / "README.md").read_text()
    assert f"| {winner['test_balanced_acc']:.4f} |" in card
    assert "Recall per class on the test split, worst first:" in card


def test_the_files_have_it_too(folder):
    report.main(["study=photos", f"storage={folder.parent}", "format=csv"])
    with (folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {
        "val_acc",
        "val_worst_recall",
        "recall/bag",
        "recall/coat",
        "recall/t-shirt",
        "train.class_weights",
    } <= rows[0].keys()
    assert 0 <= float(rows[0]["recall/bag"]) <= 1


def test_images_behind_a_value(folder):
    view = StudyView.open(folder)
    assert images_behind(view, "val_acc") == view.identity.origin["images"]["val"]
    assert images_behind(view, "val_balanced_acc") < images_behind(view, "val_acc")
    assert images_behind(view, "recall/bag") == view.identity.origin["val_by_class"][0]
    assert images_behind(view, "val_loss") is None
    assert tied(view)[0] is view.ranked()[0]


@pytest.mark.parametrize(
    ("val", "test", "words"),
    [
        (0.95, 0.80, "0.1500 below val_acc, more than chance"),
        (0.80, 0.95, "above val_acc"),
        (0.95, 0.94, ""),
    ],
)
def test_a_gap_larger_than_chance_is_told(val, test, words):
    said = " ".join(
        winner_verdicts({"val_acc": val, "test_acc": test}, {"val": 200, "test": 200}, [], METRICS)
    )
    assert words in said if words else said == ""


def test_a_winner_that_is_no_better_than_the_majority_is_told_so():
    by_class = {part: {"hits": [0, 48], "images": [52, 48]} for part in ("val", "test")}
    said = winner_verdicts(
        {"val_acc": 0.48, "test_acc": 0.48, "by_class": by_class}, {}, ["coat", "t-shirt"], METRICS
    )
    assert said == ["Its test_acc is no better than always predicting coat, which gives 0.5200."]
