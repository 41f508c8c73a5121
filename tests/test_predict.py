"""`predict` on folders as people have them: hidden and damaged files cost a sentence each, ONNX
exports work.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from hopsearch import predict
from hopsearch.artifact import (
    config_of,
    load_classifier,
    load_model,
    runtime,
    write_folder,
    write_onnx,
)
from hopsearch.command_line.command import DONE, MISTAKE, run_verb
from hopsearch.core.errors import DataError, ModelError
from hopsearch.models import fold
from tests.layouts import photographs
from tests.test_export import trained

NAMES = ["cat", "dog", "eel", "fox", "Känguru"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with the same model as safetensors and as ONNX."""
    root = tmp_path_factory.mktemp("models")
    model, trial = trained("imixer")
    model = fold(model).eval()
    about = config_of(model.config, NAMES, trial)
    write_folder(root / "torch", model, about, "card")
    (root / "onnx").mkdir()
    write_onnx(model, root / "onnx" / "model.onnx", about)
    (root / "onnx" / "config.json").write_text(json.dumps(about))
    return root


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return photographs(tmp_path / "photos", {"a": 3, "b": 2})


def ask(*words: str) -> int:
    return run_verb(predict.main, predict.PredictConfig, "about", words)


def test_a_folder_with_hidden_and_damaged_files(models, photos, capsys):
    (photos / "a" / ".hidden.jpg").write_bytes(b"x")
    (photos / "a" / "._000.jpg").write_bytes(b"x")
    (photos / ".thumbnails").mkdir()
    (photos / ".thumbnails" / "1.jpg").write_bytes(b"x")
    (photos / "a" / "phone.HEIC").write_bytes(b"x")
    assert ask(f"model={models / 'torch'}", "photos", "format=json") == DONE
    shown = capsys.readouterr()
    assert [json.loads(line)["image"] for line in shown.out.splitlines()] == [
        *(f"photos/a/00{n}.jpg" for n in range(3)),
        *(f"photos/b/00{n}.jpg" for n in range(2)),
    ]
    assert shown.err == (
        "hopsearch: classified 5 of 5 images; ignored: 1 .heic (not a supported image format), "
        "3 hidden\n"
    )
    (photos / "a" / "000.jpg").write_bytes(b"damaged")
    (photos / "b" / "empty.png").write_bytes(b"")
    assert ask(f"model={models / 'torch'}", "photos", "format=json") == MISTAKE
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 4, "the others are classified all the same"
    lines = shown.err.splitlines()
    assert [line.partition(":")[2].partition(":")[0] for line in lines[:2]] == [
        " skipped photos/a/000.jpg",
        " skipped photos/b/empty.png",
    ]
    assert lines[2].startswith("hopsearch: classified 4 of 6 images; ignored: ")
    assert lines[3].startswith(
        "hopsearch: predict: every image must be readable, got 2 of 6 unreadable, first "
        "photos/a/000.jpg"
    )


def test_a_link_to_nothing_is_skipped_and_named(models, photos, capsys):
    (photos / "a" / "away.jpg").symlink_to("nothing.jpg")
    assert ask(f"model={models / 'torch'}", "photos", "format=json") == MISTAKE
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 5, "the others are classified all the same"
    assert "skipped photos/a/away.jpg: [Errno 2] No such file or directory" in shown.err
    assert "classified 5 of 6 images" in shown.err


def test_a_word_that_leads_nowhere_costs_a_sentence(models, photos, capsys):
    (photos.parent / "empty").mkdir()
    os.mkfifo(photos.parent / "pipe.png")
    words = ("missing.png", "photos", "empty", "pipe.png", "photos/a/000.jpg/inside.png")
    assert ask(f"model={models / 'torch'}", *words, "format=json") == MISTAKE
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 5, "the others are classified all the same"
    assert shown.err.splitlines() == [
        "hopsearch: skipped missing.png: must be an image or a folder of images, got nothing there",
        "hopsearch: skipped empty: the folder must contain images, got none",
        (
            "hopsearch: skipped pipe.png: must be an image file or a folder of images, got a pipe, "
            "a "
            "socket or a device"
        ),
        (
            "hopsearch: skipped photos/a/000.jpg/inside.png: must be an image or a folder of "
            "images, "
            "got Not a directory"
        ),
        "hopsearch: classified 5 of 5 images",
        "hopsearch: predict: every path must lead to readable images, got 4 that do not, first "
        "missing.png. "
        "The others are classified; repair these, or leave them out",
    ]


def test_where_nothing_can_be_predicted_it_is_said(models, photos, capsys):
    assert ask(f"model={models / 'torch'}", "missing.png", "gone.png") == MISTAKE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "got 2 that do not, first missing.png. Nothing is classified; repair these" in shown.err
    assert ask(f"model={models / 'torch'}", "missing.png") == MISTAKE
    assert capsys.readouterr().err.startswith(
        "hopsearch: missing.png: must be an image or a folder of images, got nothing there."
    )


def test_a_folder_that_cannot_be_read_is_skipped_and_named(models, photos, capsys):
    """Its path is longer than the system takes, which no user may read, root neither."""
    inner = os.getcwd()
    os.chdir(photos / "a")
    try:
        for _ in range(17):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(inner)
    assert ask(f"model={models / 'torch'}", "photos", "format=json") == MISTAKE
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 5, "the others are classified all the same"
    assert "skipped photos/a/ddd" in shown.err
    assert "the folder must be readable: File name too long\n" in shown.err
    assert (
        "every path must lead to readable images, got 1 that do not, first photos/a/ddd"
        in shown.err
    )


def test_a_link_to_itself_is_skipped_and_named(models, photos, capsys):
    (photos / "a" / "loop.jpg").symlink_to("loop.jpg")
    assert ask(f"model={models / 'torch'}", "photos", "format=json") == MISTAKE
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 5
    assert "skipped photos/a/loop.jpg: [Errno 40]" in shown.err


def test_a_folder_without_images_says_what_it_holds(models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "1.HEIC").write_bytes(b"x")
    assert ask(f"model={models / 'torch'}", "phone") == MISTAKE
    assert "the folder must contain images, got 1 .heic" in capsys.readouterr().err


def test_an_onnx_export_predicts_the_same(models, photos, capsys):
    told = []
    for model in ("torch", "onnx", "onnx/model.onnx"):
        assert ask(f"model={models / model}", "photos", "format=json", "top=5") == DONE
        told.append([json.loads(line)["classes"] for line in capsys.readouterr().out.splitlines()])
    assert set(told[0][0]) == set(NAMES)
    for other in told[1:]:
        for ours, theirs in zip(told[0], other, strict=True):
            assert list(ours) == list(theirs)
            np.testing.assert_allclose(
                list(ours.values()), list(theirs.values()), rtol=0, atol=1e-4
            )


def test_an_onnx_file_knows_its_classes_and_preprocessing(models, tmp_path):
    session = onnxruntime.InferenceSession(
        str(models / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["classes"]) == NAMES
    prepared = json.loads(stored["preprocessing"])
    assert prepared["input_size"] == [1, 8, 8]
    assert (prepared["mean"], prepared["std"], prepared["interpolation"]) == (
        [0.5],
        [0.5],
        "bicubic",
    )
    assert (prepared["resize_shorter_side"], prepared["center_crop"]) == (8, 8)
    alone = tmp_path / "alone.onnx"
    os.link(models / "onnx" / "model.onnx", alone)
    assert load_classifier(alone).names == NAMES, "without a config.json beside it"


def test_what_an_onnx_export_cannot_do_is_said(models, tmp_path, monkeypatch):
    with pytest.raises(
        ModelError, match=r"torch needs model\.safetensors, got an ONNX export\. Export it with"
    ):
        load_model(models / "onnx")
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"needs onnxruntime, and it is not installed\. Run pip install"
    ):
        load_classifier(models / "onnx")
    monkeypatch.undo()
    (tmp_path / "bad.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="must be a readable ONNX file"):
        load_classifier(tmp_path / "bad.onnx")


def test_one_unreadable_image_is_an_error_of_one_line(models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.png").write_text("no picture")
    assert ask(f"model={models / 'torch'}", "note.png") == MISTAKE
    assert capsys.readouterr().err.count("\n") == 1
    from hopsearch.artifact import predict as classify

    with pytest.raises(DataError, match=r"note\.png: must be a readable image, got: "):
        list(classify(load_model(models / "torch"), [tmp_path / "note.png"]))
