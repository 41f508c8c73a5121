"""Mistakes on the command line, each with its message: before Ray is started, so in this
process.
"""

import os
import subprocess
import sys

import pytest

from hopsearch import report, tune
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.data import DataConfig, load
from hopsearch.storage.lease import EXPIRY, expiry
from tests.conftest import environment, folder_of_images


@pytest.fixture
def tell(tmp_path, monkeypatch, capsys):
    """Runs a verb in an empty folder; returns what a mistake prints."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, verb=tune, schema=tune.TuneConfig) -> str:
        code = run_verb(verb.main, schema, "about", words)
        error = capsys.readouterr().err
        assert (code, error.count("\n"), "Traceback" in error) == (MISTAKE, 1, False), error
        return error

    return run


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            (
                "HOPSEARCH_LEASE_SECONDS",
                value,
                (
                    f"HOPSEARCH_LEASE_SECONDS must be a number of seconds above 0, got '{value}'. "
                    f"Set "
                    f"it"
                ),
            )
            for value in ("abc", "0", "-3", "inf", "nan", "30 s")
        ),
        (
            "HOPSEARCH_CACHE",
            "~nobody-here/cache",
            "HOPSEARCH_CACHE: ~ must expand to a home directory, got '~nobody-here/cache'",
        ),
    ],
)
def test_a_mistake_in_the_environment_is_a_sentence(
    tell, monkeypatch, tmp_path, name, value, message
):
    folder_of_images(tmp_path / "images")
    monkeypatch.setenv(name, value)
    said = tell("space=imixer", "data=images", "trials=1", f"storage=file://{tmp_path}/storage")
    assert said.startswith("hopsearch: environment: ")
    assert message in said
    assert not (tmp_path / "storage").exists(), "nothing is begun"


@pytest.mark.parametrize("value", [None, "", "45"])
def test_a_lease_of_so_many_seconds(monkeypatch, value):
    if value is None:
        monkeypatch.delenv(EXPIRY, raising=False)
    else:
        monkeypatch.setenv(EXPIRY, value)
    assert expiry() == float(value or 30)


def test_a_cache_that_cannot_be_written_costs_a_warning(monkeypatch, tmp_path):
    folder_of_images(tmp_path / "images")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HOPSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(
        UserWarning,
        match=r"file: decoded images cannot be cached \(.*\); they are decoded again at every "
        r"start",
    ):
        assert load(DataConfig(source=str(tmp_path / "images"), image_size=8)).facts.n_train


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["spce=imixer"], "hopsearch: command line: spce: unknown key. Did you mean space?"),
        (["space=imixr"], "Did you mean imixer?"),
        (["space=imixer", "trials=none"], "command line: trials: "),
        (
            ["space=imixer", "budget.time=soon"],
            "must be a number with a unit s, m, h or d, got 'soon'. Write e.g. budget.time=",
        ),
        (
            ["space=imixer", "model.dpth=3"],
            "hopsearch: command line: model.dpth: unknown key. Did you mean depth?",
        ),
        (
            ["space=mlpmixer"],
            "Known: asymmixer, attnbm, hopfield, imixer, mixer, paramixer, symmixer; or set the",
        ),
        (
            ["space=mixer", "model.h_ratio=2"],
            "model.h_ratio: mlpmixer has no such setting; only imixer has it. Leave it",
        ),
        (
            ["space=mixer", "model.h_rato=2"],
            "h_rato: unknown key, and mlpmixer has nothing like it; only imixer has h_ratio",
        ),
        (
            ["space=mixer", "model.patch_size=3"],
            "command line: model.patch_size: patch_size must divide image_size, got 3 and 8. Set "
            "model.patch_size=1, 2, 4 or 8, or data.image_size=6 or 9",
        ),
        (
            ["space=imixer", "optim.min_lr=1"],
            "command line: optim.min_lr: optim.min_lr <= peak learning rate must hold",
        ),
        (
            ["space=imixer", "model=4"],
            "command line: model: is a group of settings, not a single one, got 4. Set one of "
            "them: model.<name>",
        ),
        (
            ["space=imixer", "optim=adam"],
            "command line: optim: is a group of settings, not a single one, got 'adam'. Set one of "
            "them: optim.<",
        ),
        (
            ["space=imixer", "model.depth.x=3"],
            "command line: model.depth.x: unknown key. model.depth takes a single value",
        ),
        (
            ["space=imixer", "augment.mixup.x=1"],
            "command line: augment.mixup.x: unknown key. augment.mixup takes a single value",
        ),
        (["space=imixer", "train.epochs=1.5"], "command line: train.epochs: "),
        (["space=imixer", "lr=0.1"], "lr: unknown key. Did you mean optim.lr?"),
        (
            ["space=imixer", "model.family=paramixer"],
            (
                "this space was not written for model.family=paramixer: set model.n_iter= too, or "
                "use another"
            ),
        ),
        (
            ["space=imixer", "optim.lr=fast"],
            "command line: optim.lr: input should be a valid number",
        ),
        (["space=imixer", "train.epochs=0"], "command line: train.epochs: "),
        (["space=imixer", "train.epochs=many"], "command line: train.epochs: "),
        (
            ["space=imixer", "model.image_size=64"],
            "command line: model.image_size: is determined by the data, which have 8, got 64",
        ),
        (["space=imixer", "modl.depth=4"], "command line: modl: unknown key. Did you mean model?"),
        (
            ["space=imixer", "model.family=imixr"],
            "command line: model.family: must be a known family, got 'imixr'. Did you mean",
        ),
        (
            ["space=imixer", "objective=val_ac"],
            "command line: objective: must be a metric reported every epoch, got 'val_ac'. Did",
        ),
        (
            ["space=imixer", "objective=val_acc,n_parms"],
            "command line: objective: after the first must be a cost",
        ),
        (
            ["space=imixer", "objective=seconds"],
            "command line: objective: must measure what a trial has learnt, got 'seconds', which "
            "needs no learning. Write val_acc, or val_acc,latency for fast models",
        ),
        (
            ["space=imixer", "objective=latency"],
            "Put a metric first, e.g. val_acc,latency; a cost alone needs no training",
        ),
        (
            ["space=imixer", "objective=asymmetry/tokens/mean"],
            "command line: direction: must be given for 'asymmetry/tokens/mean', of which neither "
            "way is better by itself. Set it to maximize or minimize",
        ),
        (["space=imixer", "direction=up"], "command line: direction: must be maximize or minimize"),
        (["space=imixer", "prior.optim.lrr=1"], "prior: optim.lrr: unknown parameter"),
        (
            ["space=imixer", "--trials=3"],
            "command line: settings are written without leading dashes, got '--trials=3'. Write "
            "trials=3",
        ),
        (["space=imixer", "sampler=tpee"], "Did you mean tpe? Known: cmaes, gp, grid"),
        (
            ["space=imixer", "pruner=ahsa"],
            "Did you mean asha? Known: adaptive_asha, asha, asha_promotion",
        ),
        (["space=imixer", "recipe=papers"], "Did you mean paper? Known: default"),
        (
            ["space=imixer", "data=/no/such/folder"],
            "the image folder does not exist. Check the path",
        ),
        (["space=imixer", "data=digit"], "Did you mean digits? Known: cifar10"),
        (
            ["space=imixer", "address=127.0.0.1:1"],
            "address: a Ray cluster must answer at 127.0.0.1:1",
        ),
        (["imixer"], "every argument must have the form key=value, got 'imixer'"),
    ],
)
def test_a_mistake_is_a_sentence(tell, words, message):
    assert message in tell(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: [1, 2", "mine.yaml:1:18: must be YAML: expected ',' or ']'"),
        (
            "parameters:\n  model.depth: {type: int, low: 8, high: 2}\n",
            "model.depth: low <= high must hold, got low=8, high=2",
        ),
        ("parameter:\n  model.depth: {type: int, low: 1, high: 2}\n", "Did you mean parameters?"),
    ],
)
def test_a_broken_space_names_its_file(tell, tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    error = tell("space=mine.yaml")
    assert message in error
    assert "mine.yaml" in error


def test_a_folder_with_one_class(tell, tmp_path):
    folder_of_images(tmp_path / "images", classes=1)
    assert "at least two class folders are needed, got one, 'class0'" in tell(
        "space=mixer", "data=images"
    )


def test_a_corrupt_image_is_named(tell, tmp_path):
    (folder_of_images(tmp_path / "images") / "class0" / "bad.png").write_bytes(b"not a picture")
    assert "bad.png" in tell("space=mixer", "data=images")


def test_a_study_folder_that_cannot_be_made(tell, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    assert "the folder must be writable" in tell("space=imixer", "storage=taken")


def test_a_report_without_a_study(tell, tmp_path):
    (tmp_path / "runs" / "non").mkdir(parents=True)
    (tmp_path / "runs" / "non" / "journal.log").write_text("{}")
    assert "must contain a study, got no journal.log. Did you mean non? Known: non in runs" in tell(
        "study=none", verb=report, schema=report.ReportConfig
    )


def test_from_the_shell(tmp_path):
    command = [sys.executable, "-m", "hopsearch.tune", "spce=imixer"]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 2
    assert done.stderr == "hopsearch: command line: spce: unknown key. Did you mean space?\n"
    assert done.stdout == ""
    assert not [name for name in os.listdir(tmp_path) if name != "cache"]


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 2), (["--help"], 0), (["nope"], 2), (["report", "--help"], 0), (["report"], 2)],
)
def test_one_command_for_all_verbs(tmp_path, words, code):
    done = subprocess.run(
        [sys.executable, "-m", "hopsearch", *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    known = (
        "usage: hopsearch VERB" in done.stdout
        or "python -m hopsearch.report" in done.stdout + done.stderr
    )
    assert (
        known
        or "unknown verb 'nope'. Known: tune, train, report" in done.stderr
        or words == ["report"]
    )
