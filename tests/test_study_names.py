"""Names of studies and trainings: one folder's name, wherever they come from."""

import pytest

from hopsearch import Study, report, tune
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.core.config import parse
from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.core.study_names import RULE, check_name, derive_name
from hopsearch.report import ReportConfig
from hopsearch.storage.mirror import Place
from hopsearch.train import TrainingConfig
from hopsearch.tune import TuneConfig

GOOD = [
    "imixer-digits",
    "2024_11_28",
    "007",
    "a.b",
    "v1.2+x",
    "my study",
    "lr=1e-3,b",
    "größe",
    "实验",
    "हिन्दी",
    "_x",
    "a" * 200,
]
BAD = [
    *(
        "../../x",
        "..",
        ".",
        "a/b",
        "/tmp/x",
        "a\\b",
        "~/x",
        ".hidden",
        "-x",
        "x-",
        " x",
        "x ",
        "x.",
        "a#1",
        "a:b",
        "a*",
        "a\nb",
    ),
    *(
        "a\x00b",
        "a\tb",
        "",
        "a" * 201,
        "é" * 101,
        "a\u202eb",
        "a\ud800b",
        "s3://x",
        "a?b",
        "a%2fb",
        "(a)",
    ),
]


@pytest.mark.parametrize("name", GOOD)
def test_names(name):
    assert check_name(name) == name
    assert Place.of("runs", name).folder.parent.name == "runs"


@pytest.mark.parametrize("name", BAD)
def test_no_name_leads_out_of_the_storage(name):
    with pytest.raises(ValueError, match="a name consists of letters"):
        check_name(name)
    with pytest.raises(StudyError, match="a name consists of letters"):
        Place.of("runs", name)
    with pytest.raises(StudyError, match="a name consists of letters"):
        Study.open(name)


@pytest.mark.parametrize("name", [name for name in BAD if name != "a#1"])
@pytest.mark.parametrize(
    ("schema", "key", "others"),
    [
        (TuneConfig, "study", {"space": "imixer"}),
        (TuneConfig, "warm_start", {"space": "imixer"}),
        (ReportConfig, "study", {}),
        (ReportConfig, "compare", {"study": "x"}),
        (TrainingConfig, "from", {}),
        (TrainingConfig, "name", {}),
    ],
)
def test_every_setting_that_is_a_name_has_the_rule(schema, key, others, name):
    with pytest.raises(ConfigError) as caught:
        parse(schema, {**others, key: name}, "command line")
    assert str(caught.value).startswith(f"command line: {key}: ")


def test_one_sentence_and_a_remedy():
    with pytest.raises(ConfigError) as caught:
        parse(ReportConfig, {"study": "runs/imixer-digits"}, "command line")
    remedy = "Set the folder with storage= and the name as imixer-digits"
    assert str(caught.value) == f"command line: study: {RULE}, got 'runs/imixer-digits'. {remedy}"


def test_the_forms_of_unicode_are_one_name():
    assert check_name("gro\u0308ße") == check_name("größe") == "größe"


def test_a_trial_of_a_study():
    assert parse(TrainingConfig, {"from": "a b#3"}, "x").from_ == "a b#3"


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("imixer", "digits"), "imixer-digits"),
        ((".my space", "x"), "my space-x"),
        (("a/b#c", "-"), "a-b-c"),
        (("..", ""), "study"),
        (("a" * 300,), "a" * 200),
        (("é" * 150, "x"), "é" * 100),
    ],
)
def test_derived_names_keep_the_rule(parts, name):
    assert derive_name(*parts) == name == check_name(name)


def test_a_storage_gets_a_name_that_an_address_can_hold():
    assert Place.of("s3://bucket/x/", "my größe").remote == "s3://bucket/x/my%20gr%C3%B6%C3%9Fe"
    assert Place.of("s3://bucket", "v1.2+x=3,a@b-c_d").remote == "s3://bucket/v1.2+x=3,a@b-c_d"


@pytest.mark.parametrize("verb", [tune, report])
def test_nothing_is_written_outside(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    schema, words = (
        (TuneConfig, ["space=imixer", "trials=1"]) if verb is tune else (ReportConfig, [])
    )
    assert (
        run_verb(verb.main, schema, "", [*words, "storage=runs/deep", "study=../../x"]) == MISTAKE
    )
    assert "study: a name consists of letters" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
