"""The hash chain of a journal's lines: each has its number and a hash of itself and all lines
before it.

A line reads ``{…,"chain":"57:0123456789abcdef"}``; Optuna ignores the field. Lines without it are
from an older version, or from another program, e.g. a note made in optuna-dashboard: they are
counted and hashed like the others.
"""

import hashlib
import re

from hopsearch.core.errors import StudyError

_LINK = re.compile(rb',"chain":"(\d+):([0-9a-f]{16})"}$')


class Chain:
    """The state of verifying a journal.

    Args:
        place: the journal, start of an error message.

    Attributes:
        count: lines so far.
        begins: number of the first line with a link; 0 for none yet.
        foreign: numbers of later lines without a link.
    """

    def __init__(self, place: str) -> None:
        self.count = 0
        self.begins = 0
        self.foreign: list[int] = []
        self._place = place
        self._hash = b""

    def link(self, line: bytes) -> bytes:
        """A new line, a JSON object, with its link."""
        self.count += 1
        self.begins = self.begins or self.count
        self._hash = _hashed(self._hash, line)
        return line[:-1] + f',"chain":"{self.count}:{self._hash.hex()}"}}'.encode()

    def take(self, line: bytes) -> None:
        """Verify the next line.

        Raises:
            StudyError: it does not follow the one before it; the message names the line and the
                problem.
        """
        number = self.count + 1
        match = _LINK.search(line)
        hashed = _hashed(self._hash, line[: match.start()] + b"}" if match else line)
        if match and int(match[1]) != number:
            raise self._broken(
                number, f"got line {int(match[1])} there: {_moved(int(match[1]), number)}"
            )
        if match and match[2].decode() != hashed.hex():
            before = "" if self.begins else ", or one of the unlinked lines before it"
            raise self._broken(number, f"got another hash: it was altered{before}")
        if match:
            self.begins = self.begins or number
        elif self.begins:
            self.foreign.append(number)
        self.count = number
        self._hash = hashed

    def copy(self) -> "Chain":
        """An independent copy."""
        other = Chain(self._place)
        other.count = self.count
        other.begins = self.begins
        other.foreign = list(self.foreign)
        other._hash = self._hash
        return other

    def __str__(self) -> str:
        if not self.begins:
            return f"journal: {self.count} lines of an older version, without a hash chain"
        since = f"; no chain before line {self.begins}" if self.begins > 1 else ""
        shown = ", ".join(map(str, self.foreign[:5])) + (", …" if len(self.foreign) > 5 else "")
        other = f"; written by another program: line {shown}" if self.foreign else ""
        return f"journal: {self.count} lines, none missing, altered or moved{since}{other}"

    def _broken(self, number: int, found: str) -> StudyError:
        rule = f"line {number} must follow line {number - 1}, {found}"
        hint = (
            f"Restore it from a copy; or keep the lines before it, from which a search resumes: "
            f"head -n {number - 1}"
        )
        return StudyError(self._place, rule, hint)


def _moved(found: int, expected: int) -> str:
    if found < expected:
        return "it is duplicated or out of order"
    missing = found - expected
    return f"{missing} line{'s are' if missing > 1 else ' is'} missing or out of order"


def _hashed(before: bytes, line: bytes) -> bytes:
    return hashlib.sha256(before + line).digest()[:8]
