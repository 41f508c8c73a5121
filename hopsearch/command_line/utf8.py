"""File names and words are UTF-8, whatever the locale: `start` for programs.

Imports nothing but the standard library: it is called before anything else.
"""

import codecs
import os
import sys


def start() -> None:
    """Start this program anew in Python's UTF-8 mode where its locale knows ASCII alone, as
    ``LANG=C`` with ``PYTHONUTF8=0``.

    Python would otherwise neither open a file called ``café`` nor pass the name to another process.
    Child processes have the same mode.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name != "ascii" or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
