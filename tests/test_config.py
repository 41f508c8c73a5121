"""Settings, the command line, exit codes: what a user types, and what they are told."""

import pytest
from pydantic import Field

from hopsearch.command_line.command import BUG, DONE, INTERRUPTED, MISTAKE, Interrupted, run_verb
from hopsearch.core.config import Settings, flatten, parse, unflatten
from hopsearch.core.errors import (
    CheckpointError,
    ConfigError,
    Diverged,
    HopsearchError,
    SpaceError,
    UserError,
)


class Inner(Settings):
    """Below."""

    depth: int = Field(default=2, ge=1)
    """Blocks."""


class Outer(Settings):
    """Above."""

    name: str
    """A name."""
    rate: float = Field(default=0.1, gt=0)
    """A rate."""
    inner: Inner = Inner()
    """Below."""


def test_flatten_and_back():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert flatten(tree) == {"a.b": 1, "a.c.d": 2, "e": 3}
    assert unflatten(flatten(tree)) == tree


class TestParse:
    def test_reads(self):
        assert parse(Outer, {"name": "x", "inner": {"depth": 3}}, "here").inner.depth == 3

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({}, "here: name: is required. Add name=…"),
            ({"name": "x", "rats": 1}, "here: rats: unknown key. Did you mean rate?"),
            (
                {"name": "x", "inner": {"dpth": 1}},
                "here: inner.dpth: unknown key. Did you mean depth?",
            ),
            ({"name": "x", "zzz": 1}, "here: zzz: unknown key. Known: inner, name, rate"),
            ({"name": "x", "rate": -1}, "here: rate: input should be greater than 0, got -1"),
            ({"name": "x", "rate": float("nan")}, "here: rate: input should be"),
            (
                {"name": "x", "inner": {"depth": 1.5}},
                "here: inner.depth: input should be a valid integer",
            ),
        ],
    )
    def test_mistakes(self, values, message):
        with pytest.raises(ConfigError) as caught:
            parse(Outer, values, "here")
        assert str(caught.value).startswith(message)


class TestExitCodes:
    def run(self, main, *words):
        return run_verb(main, Outer, "about", list(words))

    def test_done(self):
        seen = []
        assert self.run(seen.append, "a=1") == DONE == 0
        assert seen == [["a=1"]]

    def test_help(self, capsys):
        assert self.run(lambda words: 1 / 0, "--help") == DONE
        assert (
            "  inner.depth=<whole number> [default: 2]\n      Blocks.\n" in capsys.readouterr().out
        )

    @pytest.mark.parametrize("kind", [UserError, ConfigError, SpaceError])
    def test_a_users_mistake_shows_no_traceback(self, capsys, kind):
        def main(words):
            raise kind("place", "rule must hold, got 1", "Remedy")

        assert self.run(main) == MISTAKE == 2
        assert capsys.readouterr().err == "hopsearch: place: rule must hold, got 1. Remedy\n"

    @pytest.mark.parametrize(
        "error", [ZeroDivisionError("x"), CheckpointError("a", "b", "c"), Diverged("a", "b")]
    )
    def test_our_bug_always_does(self, capsys, error):
        def main(words):
            raise error

        assert self.run(main) == BUG == 1
        assert "Traceback" in capsys.readouterr().err

    def test_interrupted(self, capsys):
        def main(words):
            raise Interrupted("Saved: all.")

        assert self.run(main) == INTERRUPTED == 130
        assert capsys.readouterr().err == "\nhopsearch: interrupted. Saved: all.\n"


def test_errors_survive_a_process_boundary():
    import pickle

    for kind in (HopsearchError, SpaceError, Diverged):
        error = kind("place", "rule", "hint")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (kind, "place: rule. hint")
