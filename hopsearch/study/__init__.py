"""What is known: the study over an Optuna storage, its samplers and pruners, its leaderboard and its picture in TensorBoard."""

from hopsearch.study.board import Board
from hopsearch.study.leaderboard import Row, leaderboard, summary, varied, write_csv
from hopsearch.study.printout import make_console, show
from hopsearch.study.proposals import Admission, Admit
from hopsearch.study.pruners import PRUNERS, Pruner, Verdict, make_pruner
from hopsearch.study.records import Decision, Promotion, State, TrialRecord
from hopsearch.study.samplers import SAMPLERS
from hopsearch.study.storage import StudyLock
from hopsearch.study.study import Study
from hopsearch.study.view import Identity, StudyView

__all__ = [
    "PRUNERS",
    "SAMPLERS",
    "Admission",
    "Admit",
    "Board",
    "Decision",
    "Identity",
    "Promotion",
    "Pruner",
    "Row",
    "State",
    "Study",
    "StudyLock",
    "StudyView",
    "TrialRecord",
    "Verdict",
    "leaderboard",
    "make_console",
    "make_pruner",
    "show",
    "summary",
    "varied",
    "write_csv",
]
