"""A winner out of the door: the same logits in a process that has torch and timm only, in ONNX
Runtime, and from image files.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import hopsearch.models  # noqa: F401  # registers the presets
from hopsearch import export, predict, report
from hopsearch.artifact import (
    Provenance,
    config_of,
    load_model,
    model_card,
    modeling,
    write_folder,
    write_onnx,
)
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.core.errors import ModelError
from hopsearch.data import Augment
from hopsearch.models import FAMILIES, build, fold, parse_model
from hopsearch.study import StudyView
from hopsearch.tasks.images import Images
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from tests.conftest import drive, open_study, search_little

ELSEWHERE = """
import sys
for name in ("hopsearch", "pydantic", "omegaconf", "optuna", "ray"):
    sys.modules[name] = None  # an import of it fails
import timm, torch
sys.path.insert(0, sys.argv[1])
import modeling
for folder in sys.argv[1:]:
    images = torch.load(f"{folder}/images.pt", weights_only=True)
    with torch.inference_mode():
        by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(images)
        by_torch = modeling.load(folder)(images)
    torch.save([by_timm, by_torch], f"{folder}/logits.pt")
loaded = {name for name, module in sys.modules.items() if module is not None}
assert not [name for name in loaded if name.startswith("hopsearch")]
"""


def elsewhere(*folders: Path) -> None:
    """Logits of each folder's ``images.pt`` by timm and by plain torch, in a process without
    hopsearch, into ``logits.pt``.
    """
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr


def trained(family: str, **fields) -> tuple[nn.Module, dict]:
    """A model as after training: no zeros, norms estimated, and the config that a trial has."""
    values = {
        "family": family,
        "image_size": 8,
        "channels": 1,
        "classes": 5,
        "patch_size": 2,
        "depth": 2,
        "dim": 16,
        **fields,
    }
    config = parse_model(values, "test")
    torch.manual_seed(1)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.train()(torch.randn(4, 1, 8, 8))
    return model.eval(), {
        "model": config.model_dump(),
        "optim": {},
        "augment": {},
        "train": {},
        "seed": 3,
    }


@pytest.fixture(scope="module")
def exported(searched, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "model"
    export.main([f"study={searched.name}", f"storage={searched.parent}", f"to={folder}"])
    return folder


VARIANTS = [
    *((family, {}) for family in FAMILIES),
    *((family, {"n_iter": 3}) for family in FAMILIES if family != "mlpmixer"),
    ("imixer", {"n_iter": 0}),
    ("imixer", {"h_ratio": 0.5, "token_ratio": 1.3, "channel_ratio": 2.5}),
]


def test_every_family_and_a_winner_elsewhere(tmp_path, exported, searched, digits):
    """One process for all: importing timm is most of its time."""
    folders, logits = [exported], []
    torch.save(Augment.normalize(digits.read_test().images_NCHW), exported / "images.pt")
    for number, (family, fields) in enumerate(VARIANTS):
        model, trial = trained(family, **fields)
        folder = tmp_path / f"{number}_{family}"
        write_folder(folder, fold(model), config_of(model.config, list("abcde"), trial), "card")
        images = torch.randn(6, 1, 8, 8)
        torch.save(images, folder / "images.pt")
        with torch.inference_mode():
            logits.append(model(images))
            torch.testing.assert_close(load_model(folder)(images), logits[-1], rtol=0, atol=1e-5)
            # in a process with hopsearch
            here = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            torch.testing.assert_close(here(images), logits[-1], rtol=0, atol=1e-5)
        folders.append(folder)
    elsewhere(*folders)
    with torch.inference_mode():
        whole = timm.create_model(f"local-dir:{searched / 'winner'}", pretrained=True).eval()
        logits.insert(0, whole(torch.load(exported / "images.pt", weights_only=True)))
    for folder, expected in zip(folders, logits, strict=True):
        assert expected.std() > 0.1
        for found in torch.load(folder / "logits.pt", weights_only=True):
            torch.testing.assert_close(
                found, expected, rtol=0, atol=1e-5, msg=lambda text, at=folder: f"{at.name}: {text}"
            )
    hits = (
        torch.load(exported / "logits.pt", weights_only=True)[0].argmax(1)
        == digits.read_test().labels_N
    )
    assert float(hits.double().mean()) == StudyView.open(searched).winner["test_acc"]


@pytest.mark.parametrize("family", ["mlpmixer", "asymmixer", "imixer"])
def test_a_searchs_own_winner_is_loaded_by_the_same_code(tmp_path, digits, family):
    """An iMixer's weights are final only once it is exported."""
    values = {
        "model.family": family,
        "model.depth": 1,
        "model.dim": 16,
        "model.patch_size": 2,
        "train.epochs": 1,
    }
    run = ImageTrialRun(resolve(values, digits.facts, 0), digits)
    Images().publish(run, tmp_path)
    if family == "imixer":
        with pytest.raises(
            ValueError, match="must be an exported folder, got the winner folder of a search"
        ):
            modeling.load(tmp_path)
        return
    images = Augment.normalize(digits.val.images_NCHW[:4])
    with torch.inference_mode():
        torch.testing.assert_close(
            modeling.load(tmp_path)(images), run.evaluated.eval()(images), rtol=0, atol=1e-6
        )


@pytest.mark.long
@pytest.mark.in_turns
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_onnx(tmp_path, family):
    model, _ = trained(family, **({} if family == "mlpmixer" else {"n_iter": 2}))
    assert write_onnx(fold(model), tmp_path / "model.onnx") <= 1e-4
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 7):
        images = torch.randn(batch, 1, 8, 8)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        np.testing.assert_allclose(found, model(images).detach().numpy(), rtol=0, atol=1e-4)


class TestStudy:
    """A study's winner and another of its trials."""

    def test_predict_gives_the_class_of_the_studys_evaluation(
        self, exported, searched, digits, tmp_path, capsys
    ):
        images = digits.read_test().images_NCHW[:70]
        for number, pixels in enumerate(images):
            Image.fromarray(pixels[0].numpy()).save(tmp_path / f"{number:02d}.png")
        with torch.inference_mode():
            probabilities = load_model(searched)(Augment.normalize(images)).softmax(1)
        predict.main([f"model={exported}", "format=json", str(tmp_path)])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == 70
        for line, expected in zip(lines, probabilities, strict=True):
            best, chance = next(iter(line["classes"].items()))
            assert best == digits.facts.classes[int(expected.argmax())], line["image"]
            assert chance == pytest.approx(float(expected.max()), abs=1e-5)
            assert len(line["classes"]) == 3

    def test_what_predict_prints(self, exported, digits, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Image.fromarray(digits.val.images_NCHW[0, 0].numpy()).convert("RGBA").resize((20, 24)).save(
            "a=b.png"
        )
        predict.main([f"model={exported}", "top=2", "a=b.png"])
        name, first, chance, second, other = capsys.readouterr().out.split()
        assert name == "a=b.png"
        assert {first, second} <= set(digits.facts.classes)
        assert 0 <= float(other) <= float(chance) <= 1
        predict.main([f"model={exported}", "top=1", "format=csv", "a=b.png"])
        assert capsys.readouterr().out.splitlines()[0] == "image,class,probability"

    def test_the_card_is_markdown_and_no_html(self):
        trial = {"seed": 0, "optim": {}, "augment": {}, "train": {"note": "a | b\nc"}}
        about = {
            "hopsearch": {"trial": trial, "model": {"family": "imixer"}, "folded": False},
            "pretrained_cfg": {"label_names": ["<x>", "'&'"], "input_size": [1, 8, 8]},
        }
        card = model_card(Provenance("s", 0, 0, data={"source": "a<b>"}), about)
        assert "| source | a<b> |" in card
        assert "in the order of the logits: <x>, '&'." in card
        assert "| train.note | a \\| b c |" in card

    def test_the_card(self, exported, searched, digits):
        card, view = (exported / "README.md").read_text(), StudyView.open(searched)
        winner, record = view.winner, view.records[view.winner["trial"]]
        for text in (
            f"| validation | {digits.facts.n_val} | {winner['val_acc']:.4f} |",
            f"| test | {digits.facts.n_test} | {winner['test_acc']:.4f} |",
            f"| seed of the trial | {record.seed} |",
            f"| fingerprint | {view.identity.data['fingerprint']} |",
            f"| n_params | {record.cost['n_params']} |",
            f"| epochs of the search | {view.epochs} |",
            "| optim.lr | ",
            f"| revision | {view.identity.origin['revision']} |",
            "0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
        ):
            assert text in card, text

    def test_another_trial(self, searched, tmp_path, digits):
        view = StudyView.open(searched)
        number = view.ranked()[1].number
        export.main(
            [
                f"study={searched.name}",
                f"storage={searched.parent}",
                f"to={tmp_path / 'm'}",
                f"trial={number}",
            ]
        )
        model = load_model(tmp_path / "m")
        with torch.inference_mode():
            hits = model(Augment.normalize(digits.val.images_NCHW)).argmax(1) == digits.val.labels_N
        assert float(hits.double().mean()) == pytest.approx(view.value(view.records[number]))
        assert (
            f"| test | {digits.facts.n_test} | not read |"
            in (tmp_path / "m" / "README.md").read_text()
        )

    def test_another_trial_with_averaged_weights(self, tmp_path, digits):
        fixed = {
            "model.family": "paramixer",
            "train.ema_decay": 0.9,
            "train.epochs": 1,
            "model.dim": 16,
            "model.patch_size": 4,
        }
        space = {
            "fidelity": {"min_epochs": 1, "max_epochs": 1, "reduction": 3},
            "fixed": fixed,
            "parameters": {"optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2}},
        }
        folder = search_little(tmp_path / "averaged", digits, space, 2)
        view = StudyView.open(folder)
        for record in view.ranked():
            export.main(
                [
                    "study=averaged",
                    f"storage={tmp_path}",
                    f"to={tmp_path / 'm'}",
                    f"trial={record.number}",
                ]
            )
            with torch.inference_mode():
                hits = (
                    load_model(tmp_path / "m")(Augment.normalize(digits.val.images_NCHW)).argmax(1)
                    == digits.val.labels_N
                )
            assert float(hits.double().mean()) == pytest.approx(view.value(record))

    @pytest.mark.long
    def test_onnx(self, searched, tmp_path, digits):
        export.main(
            [
                f"study={searched.name}",
                f"storage={searched.parent}",
                f"to={tmp_path / 'm'}",
                "format=onnx",
            ]
        )
        assert sorted(os.listdir(tmp_path / "m")) == ["README.md", "config.json", "model.onnx"]
        session = onnxruntime.InferenceSession(
            str(tmp_path / "m" / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        images = Augment.normalize(digits.val.images_NCHW)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        with torch.inference_mode():
            expected = load_model(searched)(images)
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)

    def test_the_weights_hold_no_pickle_and_no_norms(self, exported):
        assert {file.suffix for file in exported.iterdir()} - {".pt"} == {
            ".safetensors",
            ".json",
            ".md",
            ".py",
        }
        assert not [
            name
            for name in load_file(exported / "model.safetensors")
            if name.endswith(("_orig", "_u", "_v", "_sigma"))
        ]


class TestMistakes:
    @pytest.fixture
    def tell(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)

        def run(verb, schema, *words: str) -> str:
            code = run_verb(verb.main, schema, "about", words)
            error = capsys.readouterr().err
            assert (code, error.count("\n"), "Traceback" in error) == (MISTAKE, 1, False), error
            return error

        return run

    def test_of_an_export(self, tell, searched, tmp_path):
        def exported(*words):
            return tell(
                export,
                export.ExportConfig,
                f"study={searched.name}",
                f"storage={searched.parent}",
                *words,
            )

        assert "command line: to: is required" in exported()
        assert "must have trial 99, got" not in exported("to=m", "trial=99")
        assert "must have trial 99. It has 0 to 9" in exported("to=m", "trial=99")
        view = StudyView.open(searched)
        last = view.ranked()[-1].number
        rule = "the trial's weights must exist, got none: deleted when it ended"
        assert (
            f"{last:04d}: {rule}, by checkpoint.keep or checkpoint.quota. Weights are kept for "
            f"trials" in exported("to=m", f"trial={last}")
        )
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "thesis.tex").write_text("")
        assert "the folder must be new, empty, or an earlier export" in exported("to=taken")
        assert "must be a folder, got a file" in exported("to=taken/thesis.tex")
        assert not (tmp_path / "m").exists()

    def test_without_a_winner(self, tell, tmp_path):
        with open_study(tmp_path / "runs") as study:
            drive(study, 3)
        assert "an export needs a finished winner, got none" in tell(
            export, export.ExportConfig, "study=test", "to=m"
        )

    def test_of_a_prediction(self, tell, searched, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "note.png").write_text("not a picture")
        model = f"model={searched}"
        assert "at least one image is required, got none" in tell(
            predict, predict.PredictConfig, model
        )
        assert "nowhere.png: must be an image or a folder" in tell(
            predict, predict.PredictConfig, model, "nowhere.png"
        )
        assert "the folder must contain images, got none" in tell(
            predict, predict.PredictConfig, model, "empty"
        )
        assert "note.png: must be a readable image, got: " in tell(
            predict, predict.PredictConfig, model, "note.png"
        )
        assert "empty: must contain a model" in tell(
            predict, predict.PredictConfig, "model=empty", "note.png"
        )

    def test_a_damaged_model(self, tmp_path):
        model, trial = trained("imixer")
        write_folder(
            tmp_path / "m", fold(model), config_of(model.config, list("abcde"), trial), "card"
        )
        (tmp_path / "m" / "model.safetensors").write_bytes(b"\0" * 40)
        with pytest.raises(ModelError, match="the weights must be readable and match"):
            load_model(tmp_path / "m")
        (tmp_path / "m" / "config.json").write_text("{}")
        with pytest.raises(ModelError, match="must describe a model written by hopsearch"):
            load_model(tmp_path / "m")


def test_a_report_shows_the_same_study(searched, capsys):
    report.main([f"study={searched.name}", f"storage={searched.parent}"])
    assert "winner: trial" in capsys.readouterr().out
