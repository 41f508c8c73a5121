"""Shared by all verbs: help, exit codes, and user errors as a sentence instead of a traceback."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from hopsearch.command_line import signals
from hopsearch.command_line.help import help_text
from hopsearch.command_line.manual import ASKED
from hopsearch.command_line.verbosity import verbose, without_flags
from hopsearch.core.config import Settings
from hopsearch.core.errors import UserError
from hopsearch.core.redaction import formatted, guard_process, holds_secret, learn_from, redact
from hopsearch.core.user_code import own_error

DONE = 0
BUG = 1
MISTAKE = 2
INTERRUPTED = signals.INTERRUPTED
_EXPOSED = (
    "a password or key on the command line is visible to every user of this machine (ps); it is "
    "not stored. Leave it out and pass it as PGPASSWORD, in ~/.pgpass or ~/.my.cnf, or as "
    "AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY"
)


class Interrupted(Exception):  # noqa: N818  # not an error: everything is saved
    """The user, or the system, requested a stop; the message explains how to resume."""


def run_verb(
    main: Callable[[Sequence[str]], None],
    schema: type[Settings],
    about: str,
    words: Sequence[str] | None = None,
) -> int:
    """Run a verb with the command line's arguments and return its exit code (constants above)."""
    guard_process()
    words, more = without_flags(sys.argv[1:] if words is None else words)
    learn_from((name, text) for name, _, text in (word.partition("=") for word in words))
    exposed = [redact(word).partition("=")[0] for word in words if holds_secret(word)]
    if any(word in ASKED for word in words):
        print(help_text(schema, about))
        return DONE
    if exposed:
        print(f"hopsearch: {', '.join(exposed)}: {_EXPOSED}", file=sys.stderr)
    try:
        with verbose(more):
            main(words)
    except UserError as error:
        print(f"hopsearch: {error}", file=sys.stderr)
        return MISTAKE
    except Interrupted as stop:
        print(f"\nhopsearch: interrupted. {stop}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        signals.saving()
        if signals.reader_gone():  # the reader closed the pipe
            return DONE
        print(f"\nhopsearch: {signals.NOTHING_BEGUN}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if mistake := own_error(error):
            if more:
                print(formatted(error), end="", file=sys.stderr)
            hint = "" if more else "; -v prints its traceback"
            print(f"hopsearch: {mistake}{hint}", file=sys.stderr)
            return MISTAKE
        print(formatted(error), end="", file=sys.stderr)
        print(
            "hopsearch: unexpected error (a bug in hopsearch); completed epochs are saved.",
            file=sys.stderr,
        )
        return BUG
    return DONE


def run_as_program(
    main: Callable[[Sequence[str]], None], schema: type[Settings], about: str
) -> NoReturn:
    """Like `run_verb`, for a verb started as a program: exits with the code."""
    signals.listen()
    signals.finish(run_verb(main, schema, about))
