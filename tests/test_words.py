"""What a written value means, on the command line and in a file: YAML 1.2 for all but text, which
is taken as it stands.
"""

import math
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from hopsearch.command_line.words import read_words
from hopsearch.core.config import Settings, flatten, parse
from hopsearch.core.errors import ConfigError, SpaceError
from hopsearch.core.yaml_reader import read_yaml, scalar
from hopsearch.predict import PredictConfig
from hopsearch.report import ReportConfig
from hopsearch.space import load_space
from hopsearch.tasks.images.classifier_config import SETTINGS
from hopsearch.tune import TuneConfig

AS_IT_STANDS = [
    *(
        "2024_11_28",
        "2024-11-28",
        "007",
        "0o17",
        "0x1f",
        "12:30",
        "1e5",
        "1e-3",
        "1_000",
        ".inf",
        "3.10",
        "+7",
    ),
    *(
        "yes",
        "no",
        "on",
        "off",
        "true",
        "null",
        "~",
        "None",
        "a=b",
        "${oc.env:HOME}",
        "#4",
        "&a",
        "*a",
        "!!int",
        "a: b",
        "a,b",
    ),
    *("[old] photos", "{x}", "'quoted'", '"quoted"', "größe", "фото", "写真", "-", "x" * 5000),
]
WORDS = [
    "yes",
    "No",
    "on",
    "OFF",
    "y",
    "12:30",
    "2024-11-28",
    "1_000",
    "0b11",
    "1.2.3",
    "tRue",
    "${x}",
    "#4",
    "*a",
    "&a b",
]
WORDS += ["!!python/none", "- 1", "a: 1", "%x", "@x", "`x", "| x", "9" * 5000]
CORE = {word: word for word in WORDS}
CORE |= {
    "7": 7,
    "007": 7,
    "-3": -3,
    "+3": 3,
    "0o17": 15,
    "0x1f": 31,
    "1e5": 1e5,
    "1e-3": 1e-3,
    ".5": 0.5,
    "1.": 1.0,
}
CORE |= {"-.inf": -math.inf, "true": True, "FALSE": False, "null": None, "~": None, "'7'": "7"}
CORE |= {"[1, a, yes]": [1, "a", "yes"], "{a: 1e-3}": {"a": 1e-3}}
SWITCHES = [
    ("true", True),
    ("yes", True),
    ("On", True),
    ("false", False),
    ("no", False),
    ("off", False),
]


class Some(Settings):
    """Of every kind."""

    text: str = "a"
    """Text."""
    perhaps: str | None = None
    """Text or none."""
    path: Path = Path("x")
    """A path."""
    choice: Literal["auto", "7"] = "auto"
    """One of some words."""
    switch: bool = False
    """A switch."""
    whether: bool | None = None
    """A switch or none."""
    number: float | None = Field(default=0.5)
    """A number or none."""
    count: int = 1
    """A whole number."""


class Group(Settings):
    """A group."""

    some: Some = Some()
    """Below."""
    free: dict[str, object] = Field(default_factory=dict)
    """Whatever."""


def read(*words: str) -> Group:
    return parse(Group, read_words(words, Group), "command line")


@pytest.mark.parametrize("word", AS_IT_STANDS)
def test_text_is_taken_as_it_stands(word):
    some = read(f"some.text={word}", f"some.perhaps={word}", f"some.path={word}").some
    assert (some.text, some.perhaps, some.path) == (word, word, Path(word))


def test_a_choice_is_text():
    assert read("some.choice=7").some.choice == "7"


@pytest.mark.parametrize(("word", "value"), CORE.items(), ids=lambda value: repr(value)[:20])
def test_all_else_is_yaml(word, value):
    assert read_words([f"free.x={word}"], Group) == {"free": {"x": value}}
    assert type(read_words([f"x={word}"])["x"]) is type(value)


@pytest.mark.parametrize(("word", "value"), CORE.items(), ids=lambda value: repr(value)[:20])
def test_a_file_reads_what_the_command_line_reads(tmp_path, word, value):
    if (word[0] in "*&!-%@`|#" and not isinstance(value, float | int)) or (
        ": " in word and word[0] != "{"
    ):
        pytest.skip("YAML's own signs: in a file such a word is quoted")
    (tmp_path / "x.yaml").write_text(f"a: {word}\n")
    if len(word) > 1000:
        with pytest.raises(SpaceError, match=r"x\.yaml:1:4: must be a int, got 9{30}…"):
            read_yaml(tmp_path / "x.yaml", "x.yaml")
    else:
        assert read_yaml(tmp_path / "x.yaml", "x.yaml").data == {"a": value}


@pytest.mark.parametrize(("word", "value"), SWITCHES)
def test_a_switch(word, value):
    assert read_words([f"some.switch={word}", f"some.whether={word}"], Group) == {
        "some": {"switch": value, "whether": value}
    }


def test_null_is_none_where_there_may_be_none():
    some = read("some.number=null", "some.whether=~").some
    assert (some.number, some.whether) == (None, None)


def test_a_group_in_braces_is_its_settings():
    some = read("some={text: 007, switch: yes, number: 1e-3}").some
    assert (some.text, some.switch, some.number) == ("007", True, 1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["imixer"],
            "command line: every argument must have the form key=value, got 'imixer'. See --help "
            "for the keys",
        ),
        (["=3"], "command line: every argument must have the form key=value, got '=3'"),
        (
            ["--some.count=3"],
            (
                "command line: settings are written without leading dashes, got '--some.count=3'. "
                "Write "
                "some.count=3"
            ),
        ),
        (["some.count="], "command line: some.count must have a value, got nothing after ="),
        (["some.count= "], "command line: some.count must have a value, got nothing after ="),
        (
            ["some..count=1"],
            "command line: a key must be names separated by dots, got 'some..count'",
        ),
        (
            ["some.count =1"],
            "command line: a key must be names separated by dots, got 'some.count '",
        ),
        (
            ["free.x=1", "free.x=2"],
            "command line: free.x must be given only once, got it twice. Drop one of the two",
        ),
        (["free.x=1", "free.x.y=2"], "command line: free.x.y and free.x must not both be set"),
        (["free.x={1: "], "command line: free.x: must be YAML: "),
        (["free.x={a: 1, a: 2}"], "command line: free.x: must be YAML: a must appear once"),
        (
            ["free.x='a"],
            'command line: free.x: must be YAML: found unexpected end of stream, got "\'a"',
        ),
        (
            ["some=7"],
            (
                "command line: some: is a group of settings, not a single one, got '7'. Set one of "
                "them: some.text, "
                "some.perhaps"
            ),
        ),
        (
            ["some.count=1_000"],
            "command line: some.count: must be a number, got '1_000'. Write 1000",
        ),
        (["some.text=\udcff"], "command line: every argument must be UTF-8 text, got"),
        (["some.count=" + "x" * 5000], "command line: some.count: input should be a valid integer"),
        (
            ["some.number=.inf"],
            "command line: some.number: input should be a finite number, got inf",
        ),
        (["some.count=12:30"], "command line: some.count: input should be a valid integer"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(ConfigError) as caught:
        read(*words)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("word", "value"), [("1e1", 10), ("3.0", 3), ("0x10", 16), ("1.5", 1.5)])
def test_a_whole_number_may_be_written_as_any(word, value):
    got = read_words([f"train.epochs={word}"], TuneConfig, SETTINGS)["train"]["epochs"]
    assert (got, type(got)) == (value, type(value))


def test_the_verbs_know_their_text():
    words = [
        "study=2024_11_28",
        "data=007",
        "space=12:30",
        "objective=on",
        "recipe=1e5",
        "storage=[x]",
        "database=null",
    ]
    values = read_words(words, TuneConfig, SETTINGS, {"data": "data.source"})
    assert {
        key: value for key, value in flatten(values).items() if not isinstance(value, str)
    } == {}
    assert values["study"] == "2024_11_28"
    assert values["data"]["source"] == "007"
    assert parse(ReportConfig, read_words(["study=007"], ReportConfig), "x").study == "007"
    assert parse(PredictConfig, read_words(["model=1e5"], PredictConfig), "x").model == "1e5"


def test_settings_of_trials_are_read_by_what_they_are():
    words = [
        "model.family=imixer",
        "train.device=cpu",
        "augment.randaugment=none",
        "augment.flip=no",
        "optim.lr=1e-3",
    ]
    values = flatten(
        read_words([*words, "optim.clip_grad=null", "model.depth=4"], TuneConfig, SETTINGS)
    )
    assert (values["model.family"], values["train.device"], values["augment.randaugment"]) == (
        "imixer",
        "cpu",
        "none",
    )
    assert (values["augment.flip"], values["optim.lr"], values["optim.clip_grad"]) == (
        False,
        1e-3,
        None,
    )


class TestFiles:
    def data(self, tmp_path, text: str | bytes):
        path = tmp_path / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_yaml(path, "x.yaml")

    def test_a_byte_order_mark_is_no_part_of_it(self, tmp_path):
        assert self.data(tmp_path, b"\xef\xbb\xbfa: 1\n").data == {"a": 1}

    def test_windows_line_ends(self, tmp_path):
        assert self.data(tmp_path, "a: yes\r\nb: 1e-3\r\n").data == {"a": "yes", "b": 1e-3}

    def test_merges_and_their_places(self, tmp_path):
        document = self.data(
            tmp_path,
            (
                "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: {p: {q: &q {<<: *a, y: 4}}, r: {<<: "
                "*q}}\n"
            ),
        )
        assert document.data["b"] == {"x": 1, "y": 3}
        assert document.data["c"]["r"] == {"x": 1, "y": 4}
        assert (document.marks["b", "y"], document.marks["b", "x"]) == ((4, 3), (1, 8))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "a: 1\nb: 2\na: 3\n",
                "x.yaml:3:1: a must appear once, got it on line 1 too. Drop one of the two",
            ),
            (
                "a: 1\nb: \xff\n".encode("latin-1"),
                "x.yaml:2:4: must be UTF-8 text, got byte 0xff. Save it as UTF-8",
            ),
            ("a: 1\n\tb: 2\n", "x.yaml:2:1: must be YAML"),
            ("a: 1\nb: \x07\n", "x.yaml:2:4: must be YAML, got the character U+0007"),
            ("a: 1\nb: *c\n", "x.yaml:2:4: must be YAML: found undefined alias 'c'"),
            ("a: 1\n---\nb: 2\n", "x.yaml:2:1: must be YAML: "),
            (
                "a: !!python/object/apply:os.getcwd []\n",
                "x.yaml:1:4: must be YAML: could not determine a constructor",
            ),
            ("a: !!bool yes\n", "x.yaml:1:4: must be a bool, got yes. Quote it if it is a word"),
            ("a: &a [*a]\n", "x.yaml:1:4: an alias must not contain itself"),
            ("a: {<<: 7}\n", "x.yaml:1:9: << must merge a mapping"),
            ("? [1]\n: 2\n", "x.yaml:1:3: keys must be words"),
            ("[" * 3000, "x.yaml:"),
            (
                "".join(
                    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10 if n else '1')}]\n"
                    for n in range(12)
                ),
                "x.yaml:",
            ),
        ],
        ids=range(13),
    )
    def test_mistakes_have_their_place(self, tmp_path, text, message):
        with pytest.raises(SpaceError) as caught:
            self.data(tmp_path, text)
        assert str(caught.value).startswith(message)


def test_a_space_reads_by_the_same_rules(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "fixed: {a.b: 2024-11-28, a.c: 1_000}\nparameters:\n  x: {type: categorical, choices: "
        "[on, off, 12:30, 1e-3, 0o17]}\n"
    )
    space = load_space(tmp_path / "s.yaml").resolve({})
    assert space.parameters["x"].values() == ("on", "off", "12:30", 1e-3, 15)
    assert space.fixed == {"a.b": "2024-11-28", "a.c": "1_000"}


def test_scalars_of_any_length():
    assert scalar("1e400") == math.inf
    assert scalar("9" * 5000) == "9" * 5000
