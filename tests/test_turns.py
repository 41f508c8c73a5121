"""Every test that is marked comes up in one of the turns, and no other is ever left out."""

from dataclasses import dataclass

import pytest

from tests.turns import TURNS, not_now, turns


@dataclass(frozen=True, eq=False)
class Item:
    """As much of a collected test as `not_now` looks at."""

    nodeid: str
    mark: pytest.Mark | None = None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self.mark


ALIKE = [Item(f"test_a.py::test_alike[{case}]", pytest.mark.in_turns.mark) for case in range(5)]
PAIR = [Item(f"test_a.py::test_{name}", pytest.mark.in_turns("pair").mark) for name in "ab"]
ALWAYS = [Item("test_a.py::test_always")]


def run_in(turn: int, of: int = 3) -> set[Item]:
    items = {*ALIKE, *PAIR, *ALWAYS}
    return items - set(not_now([*ALIKE, *ALWAYS, *PAIR], of, turn))


def test_three_turns_run_all():
    assert run_in(0) | run_in(1) | run_in(2) == {*ALIKE, *PAIR, *ALWAYS}


@pytest.mark.parametrize("turn", range(7))
def test_a_turn_runs_a_third_of_each_group_and_at_least_one(turn):
    ran = run_in(turn)
    assert len(ran & set(ALIKE)) in (1, 2)
    assert len(ran & set(PAIR)) == 1
    assert set(ALWAYS) <= ran


def test_one_turn_leaves_nothing_out():
    assert run_in(5, of=1) == {*ALIKE, *PAIR, *ALWAYS}


@pytest.mark.parametrize("wrong", ["0", "-1", "half", ""])
def test_what_is_no_number(monkeypatch, wrong):
    monkeypatch.setenv(TURNS, wrong)
    with pytest.raises(pytest.UsageError, match="a number above 0 is required"):
        turns()
