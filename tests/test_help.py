"""``--help`` of every verb: all settings, readable defaults, examples, in 80 columns."""

import os
import subprocess
import sys

import pytest

from hopsearch import doctor, export, predict, report, train, tune
from hopsearch.command_line.command import DONE, run_verb
from hopsearch.command_line.help import entries, help_text, section_entries
from hopsearch.command_line.manual import path_of
from hopsearch.core.config import flatten
from hopsearch.models import FAMILIES
from hopsearch.space import list_spaces
from hopsearch.study import PRUNERS, SAMPLERS
from hopsearch.tasks.images.classifier_config import SETTINGS, ImageTrialConfig
from hopsearch.tasks.images.recipes import RECIPES

VERBS = {
    "tune": (tune, tune.TuneConfig),
    "train": (train, train.TrainingConfig),
    "report": (report, report.ReportConfig),
    "export": (export, export.ExportConfig),
    "predict": (predict, predict.PredictConfig),
    "doctor": (doctor, doctor.DoctorConfig),
}


@pytest.fixture(params=VERBS)
def shown(request, capsys):
    verb, schema = VERBS[request.param]
    assert run_verb(verb.main, schema, verb.__doc__, ["--help"]) == DONE
    return request.param, schema, capsys.readouterr().out


def test_fits_eighty_columns(shown):
    assert [line for line in shown[2].splitlines() if len(line) > 80] == []


def test_has_every_setting_with_kind_default_and_text(shown):
    _, schema, text = shown
    for entry in entries(schema):
        assert f"  {entry.key}=<" in text
        assert entry.text, entry.key
    assert ("[required]" in text) is any(
        field.is_required() for field in schema.model_fields.values()
    )
    assert not any(
        word in text
        for word in ("None", "annotation", "``", "typing", "(needed)", "{}", " True", " False")
    )


def test_says_how_to_call_it_with_examples(shown):
    name, _, text = shown
    assert text.startswith(f"Usage:\n  python -m hopsearch.{name} ")
    assert text.count(f"  python -m hopsearch.{name} ") >= 3


@pytest.mark.parametrize("verb", ["tune", "train"])
def test_has_every_setting_of_a_trial(verb):
    text = help_text(VERBS[verb][1], VERBS[verb][0].__doc__)
    for family in FAMILIES.values():
        config = ImageTrialConfig(model=family(image_size=32, channels=3, classes=10))
        for key in flatten(config.model_dump()):
            if key not in ("seed", "model.image_size", "model.channels", "model.classes"):
                assert f"  {key}=<" in text, key
    assert "model.h_ratio=<number> [default: 2; only imixer]" in text
    assert "augment.flip=<true|false>" in text


def test_of_tune_lists_what_there_is():
    text = help_text(tune.TuneConfig, tune.__doc__)
    for name in (*list_spaces(), *SAMPLERS, *PRUNERS, *RECIPES):
        assert name in text


def test_a_default_that_differs_by_family_says_so():
    entry = next(
        one for one in section_entries("model", SETTINGS["model"]) if one.key == "model.n_iter"
    )
    assert entry.default == "imixer 2, others 1"
    assert entry.owners == "not mlpmixer"
    assert entry.text.startswith("imixer: Fixed-point iterations")


@pytest.mark.parametrize("verb", VERBS)
def test_the_file_is_what_the_settings_say(verb):
    module, schema = VERBS[verb]
    assert path_of(verb).read_text(encoding="utf-8") == help_text(schema, module.__doc__) + "\n", (
        "run `make manual`"
    )


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_comes_before_anything_is_imported(verb, word):
    forbid = (
        "import runpy, sys\n"
        "heavy = ('torch', 'ray', 'optuna', 'timm', 'pydantic', 'numpy', 'rich', 'pandas', "
        "'sklearn')\n"
        "class Forbidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.partition('.')[0] not in heavy, name\n"
        "sys.meta_path.insert(0, Forbidden())\n"
        f"sys.argv = ['hopsearch', {word!r}]\n"
        f"runpy.run_module('hopsearch.{verb}', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", forbid], capture_output=True, text=True, timeout=50, env=os.environ
    )
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout == path_of(verb).read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, (module, schema) in VERBS.items():
        path_of(name).write_text(help_text(schema, module.__doc__) + "\n", encoding="utf-8")
