"""A folder of photographs, searched by the command: its own validation images, an imbalance, and an
honest report.
"""

import json
import subprocess
import sys

import pytest

from hopsearch.study import StudyView
from tests.conftest import environment, hear_interrupts
from tests.layouts import photographs

SPACE = """
objective: val_acc
fidelity: {min_epochs: 2, max_epochs: 2, reduction: 3}
fixed:
  {model.family: mlpmixer, model.depth: 1, model.dim: 16, model.patch_size: 4,
   optim.batch_size: 16, train.epochs: 2}
parameters:
  optim.lr: {type: categorical, choices: [0.003, 0.01]}
"""


@pytest.mark.ray
@pytest.mark.long
def test_a_search_on_a_folder_with_valid_and_testing(tmp_path):
    for part, classes in (
        ("Train", {"cat": 60, "dog": 12}),
        ("valid", {"cat": 10, "dog": 8}),
        ("Testing", {"cat": 9, "dog": 7}),
    ):
        photographs(tmp_path / "photos" / part, classes)
    (tmp_path / "photos" / "Train" / "dog" / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "little.yaml").write_text(SPACE)
    words = [
        "space=little.yaml",
        "data=photos/",
        "data.image_size=16",
        "trials=2",
        "objective=val_balanced_acc",
    ]
    command = [sys.executable, "-m", "hopsearch.tune", *words]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
        preexec_fn=hear_interrupts,
    )
    assert done.returncode == 0, done.stderr
    assert "training 72 (Train/); validation 18 (valid/); test 16 (Testing/)" in done.stdout
    assert "largest class: cat, 83% of the training images" in done.stdout
    assert "1 .heic" in done.stdout
    assert "it is folder Testing)" in done.stdout, (
        "the winner's line says what the test accuracy is of"
    )
    view = StudyView.open(tmp_path / "runs" / "little-photos")
    assert (view.objective, view.identity.origin["images"]) == (
        "val_balanced_acc",
        {"train": 72, "val": 18, "test": 16},
    )
    assert view.winner is not None
    assert json.loads((view.folder / "winner" / "config.json").read_text())["pretrained_cfg"][
        "label_names"
    ] == ["cat", "dog"]
    (tmp_path / "photos").rename(tmp_path / "moved")
    again = [*command, "data=moved", "study=little-photos", "dry_run=true"]
    again.remove("data=photos/")
    done = subprocess.run(
        again, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, "the same contents under another name: " + done.stderr
