"""Selects the metrics of an epoch that the journal keeps: it is read completely, and often, so the
rest is only in TensorBoard.
"""

import re
from collections.abc import Iterable

from hopsearch.training import Row

# with more classes, the journal keeps no recalls: with 1,000 classes they would be nearly all of it
_CLASSES = 20
_ELSEWHERE = re.compile(r"^recall/|/(max|block\d+)$")


def journalled(row: Row, objective: str, metrics: Iterable[str]) -> tuple[Row, Row]:
    """The metrics that the journal keeps of an epoch, in addition to the objective.

    Args:
        row: the epoch.
        objective: what is searched for.
        metrics: names of the task's metrics.

    Returns:
        For the newest epoch, all except the values of single blocks and the recalls; for the best
        epoch, the task's metrics and the recall of each of up to 20 classes.
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
