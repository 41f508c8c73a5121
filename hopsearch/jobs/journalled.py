"""Which of an epoch's metrics the journal keeps: it is read as a whole, and often, so the rest is
in TensorBoard only.
"""

import re
from collections.abc import Iterable

from hopsearch.training import Row

# of more, the journal keeps no recalls: in a study of 1,000 classes they would be nearly all of it
_CLASSES = 20
_ELSEWHERE = re.compile(r"^recall/|/(max|block\d+)$")


def journalled(row: Row, objective: str, metrics: Iterable[str]) -> tuple[Row, Row]:
    """What the journal keeps of an epoch, beside the objective.

    Args:
        row: the epoch.
        objective: what is searched for.
        metrics: names of the task's metrics.

    Returns:
        What it keeps of the newest epoch: all but the values of single blocks and the recalls; and
        what it keeps of the epoch with the best value: the task's metrics, and the recall
        of each of up to 20 classes.
    """
    known = ("epoch", "seconds", objective)
    newest = {
        name: value
        for name, value in row.items()
        if name not in known and not _ELSEWHERE.search(name)
    }
    recalls = [name for name in row if name.startswith("recall/")]
    kept = [*metrics, *(recalls if len(recalls) <= _CLASSES else ())]
    return newest, {name: row[name] for name in kept if name in row and name != objective}
