"""The study: a search's records in an Optuna storage, with its samplers and stopping rules."""

from hopsearch.study.persistence.stores import MEMORY, StudyLock
from hopsearch.study.reader import StudyView
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.provenance import origin
from hopsearch.study.record.trial import Decision, Promotion, State, TrialRecord
from hopsearch.study.report_history import Report, chronicle
from hopsearch.study.sampling.priors import Prior
from hopsearch.study.sampling.proposals import Admission, Admit
from hopsearch.study.sampling.samplers import LEARNING, SAMPLERS, make_sampler
from hopsearch.study.stopping.pruners import PRUNERS, make_pruner
from hopsearch.study.stopping.rule import Pruner, Verdict
from hopsearch.study.warm_start import WarmStart
from hopsearch.study.writer import Study

__all__ = [
    "LEARNING",
    "MEMORY",
    "PRUNERS",
    "SAMPLERS",
    "Admission",
    "Admit",
    "Decision",
    "Identity",
    "Prior",
    "Promotion",
    "Pruner",
    "Report",
    "State",
    "Study",
    "StudyLock",
    "StudyView",
    "TrialRecord",
    "Verdict",
    "WarmStart",
    "chronicle",
    "make_pruner",
    "make_sampler",
    "origin",
]
