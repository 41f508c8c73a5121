"""Keeps passwords and keys out of everything that is written or shown: `redact`.

A URL's password and the values of words such as ``secret_key=`` are recognised by their form. Once
recognised, a secret is also hidden when it appears alone, e.g. in a database driver's message.
"""

import re
import sys
import threading
import traceback
import urllib.parse
import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

HIDDEN = "***"
ADDRESSES = ("database", "storage")
"""Settings that contain an address."""
_NAME = (
    r"(?:[\w.-]*(?:password|passwd|passphrase|pwd|secret)|(?:[\w.-]*[_.-])?(?:pass|token|credentials?|sig(?:nature)?|"
    r"(?:access|account|api|secret|private|shared)[_-]?key(?:[_-]?id)?))"
)
_VALUE = r"""(?P<quote>\\?["']?)(?P<secret>[^\s&;,"'\\)}\]]+)"""
_URL = re.compile(
    r"""(?P<before>\b[a-zA-Z][a-zA-Z0-9+.-]*://(?P<user>[^\s:/?#@'"]*):)(?P<secret>[^\s'"<>]+)(?=@)"""
)
_TOKEN_URL = re.compile(r"""(?P<before>\b(?:https?|git|hf)://)(?P<secret>[^\s:/?#@'"]{8,})(?=@)""")
_WORD = re.compile(rf"(?i)(?P<before>\b{_NAME}\\?[\"']?\s*=\s*){_VALUE}")
_CAMEL = re.compile(
    rf"(?P<before>\b\w*(?:AccessKey(?:Id)?|SecretKey|SecretAccessKey|Password|Token|Signature)\s*=\s*){_VALUE}"
)
_FIELD = re.compile(rf"(?i)(?P<before>\\?[\"']{_NAME}\\?[\"']\s*:\s*){_VALUE}")
_ADDRESS = re.compile(
    r"(?:[a-zA-Z][\w+.-]*:/{1,3})?(?P<user>[^:/@?]*):(?P<secret>[^/].*)@", re.DOTALL
)
_SHORTEST = 4  # shorter secrets are only hidden by their form: elsewhere they may be ordinary words
_MARKS = frozenset("=:@")  # no secret can be recognised by its form without one of these
_known: set[str] = set()


def redact(text: str) -> str:
    """``text`` with every password, key and token in it replaced by three stars."""
    if not _known and _MARKS.isdisjoint(text):
        return text
    for pattern in (_URL, _TOKEN_URL, _FIELD, _WORD, _CAMEL):
        text = pattern.sub(_hide, text)
    for secret in _known:
        if secret in text:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", HIDDEN, text)
    return text


def learn(address: str) -> None:
    """Remember the password of a text known to be an address, even a malformed one, with any
    characters.
    """
    if match := _ADDRESS.match(address):
        _remember(match["secret"], match["user"])


def learn_from(settings: Iterable[tuple[str, Any]]) -> None:
    """`learn` from all settings that are addresses."""
    for name, value in settings:
        if name in ADDRESSES and isinstance(value, str):
            learn(value)


def redact_all(value: object) -> Any:
    """The same for every text in plain JSON."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner) for inner in value]
    return value


def holds_secret(text: str) -> bool:
    """Whether the text contains a secret."""
    return redact(text) != text


def redacted_words(words: Iterable[str]) -> str:
    """A command line for the records, with words quoted if they contain spaces."""
    return " ".join(repr(word) if " " in word else word for word in map(redact, words))


def guard_process() -> None:
    """Route warnings and tracebacks of uncaught errors, including those of threads, through
    `redact`.
    """
    warnings.formatwarning = _warning
    sys.excepthook = _show
    threading.excepthook = _show_thread


def formatted(error: BaseException) -> str:
    """The traceback of an error and of its causes."""
    return redact("".join(traceback.format_exception(error)))


def _hide(match: re.Match[str]) -> str:
    secret = match["secret"]
    names = match.groupdict()
    if secret.startswith(HIDDEN):
        return match[0]
    _remember(secret, names.get("user"))
    return f"{match['before']}{names.get('quote') or ''}{HIDDEN}"


def _remember(secret: str, user: str | None) -> None:
    if len(secret) >= _SHORTEST and secret != user:
        _known.update({secret, urllib.parse.unquote(secret), urllib.parse.unquote_plus(secret)})


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"{filename}:{lineno}: {category.__name__}: {redact(str(message))}\n"


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(redact("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _show_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _show(args.exc_type, args.exc_value, args.exc_traceback)
