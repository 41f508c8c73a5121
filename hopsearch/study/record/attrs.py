"""The journal's schema: the attributes of Optuna's study and of its trials in which hopsearch keeps
what it knows.

Searched values, curves, states and times are Optuna's own. ``docs/study-format.md`` shows each
attribute with its content; `hopsearch.study.record.format` says how versions of it get on with each
other.
"""

# Of the study
IDENTITY = "hopsearch"
"""What the study is, see `Identity`; with the format's version."""
SECONDS = "seconds"
"""Wall-clock seconds that its searches took."""
JUDGEMENTS = "judgements"
"""What was found out about its rungs, in order; see `Judgement`."""
CHECKPOINTS = "checkpoints"
"""``kept``: ended trials whose weights are kept, best first; and the rule for it."""
REPEATS = "repeats"
"""By ``trial:repeat``: best value, epochs and seconds of a training with a fresh seed."""
ELECTION = "election"
"""How the winner was chosen, see `winner_choice.elect`."""
WINNER = "winner"
"""The finished winner: its trial, accuracies, folder, and what finishing took."""

# Of a trial, once it is proposed
CONFIG = "config"
"""Every setting by dotted name, searched and fixed. Written last: a proposal without it was cut
off.
"""
SEED = "seed"
"""Of its training."""
SOURCE = "source"
"""Who proposed it: a sampler, ``first point``, ``prior``, ``random``, ``warm start``."""
COST = "cost"
"""What it costs, computed before it ran: ``params``, ``flops``, ``memory``. (Optuna's constraints
are kept beside it.)
"""
REJECTED = "rejected"
"""``duplicate``, ``infeasible``, or ``inherited`` from another study: it is not trained, and does
not count.
"""
REASON = "reason"
"""Why it was rejected, in words."""

# Of a trial that runs
PROGRESS = "progress"
"""``seconds``, ``checkpoint``, ``came`` and ``rose``, ``metrics`` and ``peak``: see
`TrialRecord`.
"""
MEASURED = "measured"
"""Costs that its worker measured: ``latency``."""
LOSSES = "losses"
"""``count`` of lost workers; ``epochs`` and ``seconds`` that are on no curve; ``begun``: how often
``epoch`` was begun.
"""
BROKEN = "broken"
"""By how much it breaks a limit that was measured while it trained, relative."""
FAILURE = "failure"
"""How it failed, see `Failure`. Written before Optuna is told, so that an interrupted end can be
finished.
"""
DECISION, PROMOTION = "decision:", "promotion:"
"""First words of what was decided about it at an epoch, e.g. ``decision:3``; see `Decision` and
`Promotion`.
"""

# Of the trials of Optuna that hold one of ours, see `carriers`
CONTINUES = "continues"
"""Which of ours it carries on."""
OPEN = "open"
"""Why it was closed before its end."""
STARTED = "started"
"""When ours began."""
