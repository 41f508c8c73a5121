"""Intervals and tests of accuracies, against published numbers and by simulation."""

import random

import pytest

from hopsearch.core.intervals import (
    equivalent_count,
    mean_recall_interval,
    p_value,
    plus_minus,
    wilson,
)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_as_published(hits, count, low, high):
    found = wilson(hits / count, count)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_all_of_twenty_images_is_not_certainty():
    assert str(wilson(1.0, 20)) == "0.8389 to 1.0000"
    assert (wilson(1.0, 20).high, wilson(0.0, 20).low) == (1.0, 0.0)


def test_two_proportions_differ_as_a_textbook_says():
    assert p_value(0.5, 100, 0.65, 100) == pytest.approx(0.0319, abs=1e-3)  # z = 2.145
    assert p_value(1.0, 20, 1.0, 300) == 1.0
    assert p_value(0.98, 228, 0.97, 228) > 0.05


def test_a_balanced_accuracy_is_as_uncertain_as_its_small_classes():
    assert equivalent_count([50, 50]) == 100
    assert equivalent_count([90, 10]) == pytest.approx(36)
    assert equivalent_count([90, 10, 0]) == pytest.approx(36)
    certain = mean_recall_interval([90, 10], [90, 10])
    assert certain.low == pytest.approx(
        1 - ((1 - wilson(1, 90).low) ** 2 + (1 - wilson(1, 10).low) ** 2) ** 0.5 / 2
    )
    assert certain.high == 1.0


def test_the_intervals_hold_what_they_promise():
    draw, held, inside = random.Random(0), 0, 0
    for _ in range(2000):
        recalls, images = (0.95, 0.6, 0.8), (120, 15, 30)
        hits = [
            sum(draw.random() < recall for _ in range(count))
            for recall, count in zip(recalls, images, strict=True)
        ]
        found = mean_recall_interval(hits, images)
        held += found.low <= sum(recalls) / 3 <= found.high
        one = wilson(hits[1] / 15, 15)
        inside += one.low <= 0.6 <= one.high
    assert 0.93 < held / 2000 < 0.98
    assert 0.92 < inside / 2000 < 0.98


@pytest.mark.parametrize(
    ("margin", "text"),
    [(0.01234, " ± 0.0123"), (0.0, ""), (1e-17, ""), (float("inf"), ""), (float("nan"), "")],
)
def test_no_spread_is_told_where_nothing_varied(margin, text):
    assert plus_minus(margin) == text
