"""Times in words: no unit that makes a number unreadable."""

import pytest

from hopsearch.core.durations import amount, as_setting, clock, expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 seconds"),
        (0.337, "0.34 seconds"),
        (3.96, "4 seconds"),
        (1.0, "1 second"),
        (59.7, "60 seconds"),
        (60.0, "1 minute"),
        (254.0, "4.2 minutes"),
        (3600.0, "1 hour"),
        (5 * 3600.0, "5 hours"),
        (437_000.0, "121 hours"),
        (4.4e6, "1,222 hours"),
    ],
)
def test_expected_times(seconds, words):
    assert expected(seconds) == words


def test_expected_gpu_times_and_amounts():
    assert expected(4.0, "GPU-") == "4 GPU-seconds"
    assert expected(3600.0, "GPU-") == "1 GPU-hour"
    assert [amount(value) for value in (0.0, 2e-6, 0.00123, 9.94, 1234.5)] == [
        "0",
        "less than 0.0001",
        "0.0012",
        "9.9",
        "1,234",
    ]


@pytest.mark.parametrize(
    ("seconds", "word"),
    [(90, "90s"), (60, "1m"), (900, "15m"), (7200, "2h"), (777600, "9d"), (1.5, "1.5s")],
)
def test_settings(seconds, word):
    assert as_setting(seconds) == word


def test_clock():
    assert [clock(seconds) for seconds in (0.4, 9, 123, 3900)] == ["0s", "9s", "2m03s", "1h05m"]
