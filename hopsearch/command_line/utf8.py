"""Makes file names and arguments UTF-8 regardless of the locale: `start`, called by programs.

Imports only the standard library: it is called before anything else.
"""

import codecs
import os
import sys


def start() -> None:
    """Restart this program in Python's UTF-8 mode if its locale only supports ASCII, as with
    ``LANG=C`` and ``PYTHONUTF8=0``.

    Otherwise Python could neither open a file named ``café`` nor pass the name to another process.
    Child processes inherit the mode.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name != "ascii" or not sys.executable:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
