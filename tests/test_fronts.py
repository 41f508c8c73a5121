"""Ranks by several objectives, against their definitions."""

import math
from random import Random
from statistics import median

import pytest

from hopsearch.study.stopping.fronts import crowding_distances, dominates, fronts
from hopsearch.study.stopping.rung_values import Rung, StableOrder

POINTS = ((0.9, -5.0), (0.8, -3.0), (0.7, -4.0), (0.5, -1.0), (0.4, -2.0), (0.4, -2.0))


def drawn(seed, objectives, grid, count=60):
    """Points with few different values, so that there are equal ones and ties, or with many."""
    random = Random(seed)
    return [tuple(random.randrange(grid) / 5 for _ in range(objectives)) for _ in range(count)]


def best_first(points):
    """The definition: front after front, in each the loneliest first, of equals the earlier; all
    worked out anew.
    """
    left, order = (
        sorted(range(len(points)), key=lambda i: (tuple(-value for value in points[i]), i)),
        [],
    )
    if points and len(points[0]) == 1:
        return left
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        loneliness = dict(zip(front, crowding_distances([points[i] for i in front]), strict=True))
        order += sorted(front, key=lambda i: (-loneliness[i], i))
        left = [i for i in left if i not in front]
    return order


def test_domination():
    assert dominates((1.0, 1.0), (1.0, 0.5))
    assert not dominates((1.0, 1.0), (1.0, 1.0))
    assert not dominates((1.0, 0.0), (0.0, 1.0))


def test_fronts():
    assert [sorted(front) for front in fronts(POINTS)] == [[0, 1, 3], [2, 4, 5]]


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("grid", [6, 1000])
def test_fronts_agree_with_the_definition(objectives, grid):
    points = drawn(0, objectives, grid)
    left, expected = set(range(60)), []
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        expected.append(front)
        left -= front
    assert [set(front) for front in fronts(points)] == expected


def test_crowding():
    assert crowding_distances([(0.0, 4.0), (1.0, 3.0), (4.0, 0.0)]) == [
        math.inf,
        pytest.approx(2.0),
        math.inf,
    ]


def test_the_ends_of_a_front_come_first():
    rung = Rung()
    for number, values in enumerate(POINTS):
        rung.add(number, values, paused=False)
    assert rung.standing()[:3] == [0, 3, 1]


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("grid", [3, 6, 1000])
def test_a_rung_kept_as_trials_come_and_go_agrees_with_the_definition(objectives, grid):
    random, rung, points, waiting = Random(1), Rung(), [], set()
    for turn, values in enumerate(drawn(2, objectives, grid)):
        assert rung.rank(values) == 1 + best_first([values, *points]).index(0)
        paused = random.random() < 0.7
        rung.add(100 - turn, values, paused)  # numbers do not come in order
        points.append(values)
        waiting |= {turn} if paused else set()
        if waiting and random.random() < 0.5:
            gone = random.choice(sorted(waiting))
            rung.leave(100 - gone)
            waiting.remove(gone)
        order = best_first(points)
        assert rung.standing() == [100 - i for i in order]
        expected = next(
            ((100 - i, rank) for rank, i in enumerate(order, start=1) if i in waiting), None
        )
        assert rung.first_waiting() == expected


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
def test_agreement_of_two_rungs_agrees_with_the_definition(objectives, noise):
    random, below, above, answers = Random(4), Rung(), Rung(), set()
    agreement = StableOrder(below, above)
    for number in range(120):
        values = tuple(
            round(random.random(), 2) for _ in range(objectives)
        )  # rounded, so that differences are often just as allowed
        below.add(number, values, paused=True)
        if random.random() < 0.4:
            above.add(number, (values[0] + random.uniform(-noise, noise), *values[1:]), paused=True)
        elif random.random() < 0.1:
            above.add(1000 + number, values, paused=True)  # was never looked at below
        if random.random() < 0.7:
            known = [one[0] for one in below.values.values()]
            slack = 0.025 * (max(known) - min(known))
            firsts = [below.values[one][0] for one in above.standing() if one in below.values]
            stable = all(first + slack >= max(firsts[place:]) for place, first in enumerate(firsts))
            assert agreement.holds(0.025) == stable
            answers.add(stable)
    assert answers == ({True} if noise == 0 and objectives == 1 else {True, False})


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_median_and_range(count):
    rung, random = Rung(), Random(3)
    values = [random.random() for _ in range(count)]
    for number, value in enumerate(values):
        rung.add(number, (value,), paused=False)
    assert rung.median == median(values)
    assert rung.range == max(values) - min(values)
