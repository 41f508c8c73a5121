"""Pre-generated ``--help`` texts: a verb shows them before its imports, which take seconds.

The files in ``helptexts/`` are generated from the settings by `command_line.help` (``make
manual``); a test keeps them up to date.
"""

import io
import sys
from pathlib import Path

ASKED = ("-h", "--help", "help")


def path_of(verb: str) -> Path:
    """The file with a verb's help."""
    return Path(__file__).parent / "helptexts" / f"{verb}.txt"


def show_if_asked(verb: str) -> None:
    """Print the verb's help and exit, if the command line requests it."""
    if any(word in ASKED for word in sys.argv[1:]):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # characters that the terminal cannot show
        print(path_of(verb).read_text(encoding="utf-8"), end="")
        sys.exit(0)
