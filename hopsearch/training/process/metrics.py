"""Which of an epoch's metrics the journal keeps: it is read as a whole, and often, so the rest is
in TensorBoard only.
"""

import re

from hopsearch.training import Row

# of more, the journal keeps no recalls: in a study of 1,000 classes they would be nearly all of it
_CLASSES = 20
_ELSEWHERE = re.compile(r"^recall/|/(max|block\d+)$")
_PEAK = ("val_acc", "val_balanced_acc", "val_worst_recall", "val_loss")


def journalled(row: Row, objective: str) -> tuple[Row, Row]:
    """What the journal keeps of an epoch, beside the objective.

    Returns:
        What it keeps of the newest epoch: all but the values of single blocks and the recalls; and
        what it keeps of the epoch with the best value: accuracies, loss, and the recall of each of
        up to 20 classes.
    """
    known = ("epoch", "seconds", objective)
    newest = {
        name: value
        for name, value in row.items()
        if name not in known and not _ELSEWHERE.search(name)
    }
    recalls = [name for name in row if name.startswith("recall/")]
    kept = [*_PEAK, *(recalls if len(recalls) <= _CLASSES else ())]
    return newest, {name: row[name] for name in kept if name in row and name != objective}
