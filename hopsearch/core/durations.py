"""Formatting of durations: elapsed times, estimates in a suitable unit, and budgets as settings."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def clock(seconds: float) -> str:
    """Seconds in readable form: 1h05m, 2m03s, 9s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
    )


def expected(seconds: float, prefix: str = "") -> str:
    """An estimate with two digits: 0.34 seconds, 4 minutes, 120 hours; with a prefix also
    GPU-minutes.
    """
    size, unit = next(
        ((size, unit) for size, unit in ((3600, "hour"), (60, "minute")) if seconds >= size),
        (1, "second"),
    )
    text = amount(seconds / size)
    return f"{text} {prefix}{unit}{'' if text == '1' else 's'}"


def amount(value: float) -> str:
    """A number with two digits or rounded to a whole, never with an exponent: 0.34, 4.1, 1,200."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value >= 1e-4 or not value else "less than 0.0001"


def as_setting(seconds: float) -> str:
    """As ``budget.time=`` takes it: 90s, 15m, 2h, 9d."""
    size, unit = next((pair for pair in _UNITS if seconds % pair[0] == 0), (1, "s"))
    return f"{seconds / size:g}{unit}"
