"""What is known: the study over an Optuna storage, its samplers and pruners, its leaderboard and its picture in TensorBoard."""

from hopsearch.holder import Holder, Lease, LostLease, Seen
from hopsearch.study.board import Board
from hopsearch.study.chronicle import Report, chronicle
from hopsearch.study.identity import Identity
from hopsearch.study.leaderboard import Row, leaderboard, summary, varied, write_csv
from hopsearch.study.origin import about_data, origin
from hopsearch.study.printout import make_console, plain, show
from hopsearch.study.priors import Prior
from hopsearch.study.proposals import Admission, Admit
from hopsearch.study.pruners import PRUNERS, make_pruner
from hopsearch.study.reading import read_images
from hopsearch.study.records import Decision, Promotion, State, TrialRecord
from hopsearch.study.rehearsal import rehearse
from hopsearch.study.retention import Retention, retain
from hopsearch.study.rules import Pruner, Verdict
from hopsearch.study.samplers import LEARNING, SAMPLERS, make_sampler
from hopsearch.study.simulator import Event, Faults, Landscape, Simulation, Training
from hopsearch.study.storage import MEMORY, StudyLock
from hopsearch.study.study import Study
from hopsearch.study.tables import TableLandscape
from hopsearch.study.view import StudyView
from hopsearch.study.warm import WarmStart

__all__ = [
    "LEARNING",
    "MEMORY",
    "PRUNERS",
    "SAMPLERS",
    "Admission",
    "Admit",
    "Board",
    "Decision",
    "Event",
    "Faults",
    "Holder",
    "Identity",
    "Landscape",
    "Lease",
    "LostLease",
    "Prior",
    "Promotion",
    "Pruner",
    "Report",
    "Retention",
    "Row",
    "Seen",
    "Simulation",
    "State",
    "Study",
    "StudyLock",
    "StudyView",
    "TableLandscape",
    "Training",
    "TrialRecord",
    "Verdict",
    "WarmStart",
    "about_data",
    "chronicle",
    "leaderboard",
    "make_console",
    "make_pruner",
    "make_sampler",
    "origin",
    "plain",
    "read_images",
    "rehearse",
    "retain",
    "show",
    "summary",
    "varied",
    "write_csv",
]
