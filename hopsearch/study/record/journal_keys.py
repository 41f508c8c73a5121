"""The journal's keys: the attributes of Optuna's study and trials in which hopsearch stores its
data.

Searched values, curves, states and times are Optuna's own. ``docs/study-format.md`` shows each
attribute with its content; `hopsearch.study.record.format_version` describes compatibility between
versions.
"""

# Of the study
IDENTITY = "hopsearch"
"""The study's identity, see `Identity`; with the format's version."""
SECONDS = "seconds"
"""Wall-clock seconds of its runs."""
JUDGEMENTS = "judgements"
"""Judgements of its rungs, in order; see `Judgement`."""
CHECKPOINTS = "checkpoints"
"""``kept``: ended trials whose weights are kept, best first; and the rule."""
REPEATS = "repeats"
"""By ``trial:repeat``: best value, epochs and seconds of a training with a fresh seed."""
ELECTION = "election"
"""How the winner was chosen, see `winner_choice.elect`."""
WINNER = "winner"
"""The finished winner: its trial, accuracies, folder, and what finishing took."""

# Of a trial, once it is proposed
CONFIG = "config"
"""Every setting by dotted name, searched and fixed. Written last: a proposal without it was
interrupted.
"""
SEED = "seed"
"""Seed of its training."""
SOURCE = "source"
"""Who proposed it: a sampler, ``first point``, ``prior``, ``random``, ``warm start``."""
COST = "cost"
"""Its cost, computed before it ran: ``params`` (their number), ``flops``, ``memory``. (Optuna's
constraints are stored separately.)
"""
REJECTED = "rejected"
"""``duplicate``, ``infeasible``, or ``inherited`` from another study: not trained and not
counted.
"""
REASON = "reason"
"""Why it was rejected, in words."""

# Of a trial that runs
PROGRESS = "progress"
"""``seconds``, ``checkpoint``, ``came`` and ``rose``, ``metrics`` and ``peak``: see
`TrialRecord`.
"""
MEASURED = "measured"
"""Costs measured by its worker: ``latency``."""
LOSSES = "losses"
"""``count`` of lost workers; ``epochs`` and ``seconds`` that are on no curve; ``begun``: how
often ``epoch`` was started.
"""
BROKEN = "broken"
"""Relative excess over a limit measured during training."""
FAILURE = "failure"
"""How it failed, see `Failure`. Written before Optuna's state changes, so that an interrupted end
can be completed.
"""
DECISION = "decision:"
PROMOTION = "promotion:"
"""Prefixes of decisions about it at an epoch, e.g. ``decision:3``; see `Decision` and
`Promotion`.
"""

# Of the trials of Optuna that hold one of ours, see `carriers`
CONTINUES = "continues"
"""Which of our trials it continues."""
OPEN = "open"
"""Why it was closed early."""
STARTED = "started"
"""When our trial started."""
