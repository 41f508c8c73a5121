"""``hopsearch <verb> …``: the same as ``python -m hopsearch.<verb> …``."""

import os
import sys

from hopsearch.command_line.manual import ASKED

VERBS = ("tune", "train", "report", "export", "predict", "doctor")
_HELP = """usage: hopsearch VERB [key=value …]

  tune     search a space, resume an earlier search, and finish the winner
  train    train one model on one or many machines
  report   print and write the results of a study, even while it runs
  export   export a study's winner as a model that others can load
  predict  classify image files with a trained model
  doctor   check a cluster file offline, before it costs money

hopsearch VERB --help lists the settings of a verb."""


def main() -> None:
    """Become the process of a verb: signal handling and help are set up before anything is
    imported.
    """
    words = sys.argv[1:]
    if not words or words[0] in ASKED:
        print(_HELP)
        sys.exit(0 if words else 2)
    if words[0] not in VERBS:
        print(f"hopsearch: unknown verb {words[0]!r}. Known: {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, "-m", f"hopsearch.{words[0]}", *words[1:]])


if __name__ == "__main__":
    main()
