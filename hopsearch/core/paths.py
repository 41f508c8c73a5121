"""The layout of a study's and a training's folder.

Paths are relative to that folder, and the same in its copy in a storage:

    runs/<study>/journal.log                    every fact; see `study.record.journal_keys`
                 leaderboard.csv                one row per trial
                 trials/0007/epoch_0009.pt      checkpoints of trial 7
                 finishing/7_2/                 its second training with a fresh seed
                 winner/                        the winner's weights and config
                 tensorboard/                   event files
    runs/<training>/checkpoints/  model/  tensorboard/
"""

from pathlib import PurePosixPath

JOURNAL = PurePosixPath("journal.log")
LEADERBOARD = PurePosixPath("leaderboard.csv")
TRIALS = PurePosixPath("trials")
FINISHING = PurePosixPath("finishing")
WINNER = PurePosixPath("winner")
TENSORBOARD = PurePosixPath("tensorboard")
CHECKPOINTS = PurePosixPath("checkpoints")
MODEL = PurePosixPath("model")


def trial(number: int) -> PurePosixPath:
    """The folder of a trial's checkpoints."""
    return TRIALS / f"{number:04d}"


def repeat(number: int, time: int) -> PurePosixPath:
    """The folder of a trial's retraining with its first, second, … fresh seed."""
    return FINISHING / f"{number}_{time}"
