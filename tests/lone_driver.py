"""A search without Ray in a process of its own: hands out trials and reports made-up curves until
it is stopped.

Arguments: folder, database (or -), storage (or -). It begins when its standard input ends.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hopsearch.core.errors import UserError
from hopsearch.storage.mirror import Place
from hopsearch.study import Study
from tests.conftest import admit_all, curve, identity


@contextlib.contextmanager
def opened(
    folder: Path, database: str, storage: str, say: Callable[[str], None]
) -> Iterator[Study]:
    """The study, open for writing, as `hopsearch.tune` opens it."""
    there = "" if storage == "-" else f"{storage}/test"
    with (
        Place(folder / "test", there).owned(say) as place,
        place.journal(),
        Study(
            place.folder,
            identity(),
            "random",
            "asha",
            None if database == "-" else database,
            guard=place.guard,
            say=say,
        ) as study,
    ):
        yield study


def search(study: Study, trials: int, say: Callable[[str], None], pause: float = 0.0) -> None:
    """Until the study has so many trials."""
    while (record := study.next(admit_all, trials)) is not None:
        while record.state.value == "running":
            epoch = record.epoch + 1
            study.report(record.number, epoch, curve(record.number, epoch), 1.0)
            time.sleep(pause)
        say(f"told {record.number}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    _say("ready")
    sys.stdin.read()
    try:
        with opened(Path(sys.argv[1]), *sys.argv[2:], _say) as study:
            search(study, 10_000, _say, pause=0.05)
    except UserError as error:
        _say(f"hopsearch: {error}")
        sys.exit(2)
