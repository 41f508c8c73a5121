"""The exception hierarchy.

HopsearchError
├── UserError            the user can fix it: exit code 2, never a traceback
│   ├── ConfigError      a setting on the command line or in code
│   ├── SpaceError       a search-space YAML file
│   ├── DataError        a data set, an image folder, an image
│   ├── StudyError       a study's folder, journal or identity
│   ├── ModelError       a trained model's folder
│   ├── TaskError        a task of the user's own: its code raises, or breaks the contract
│   └── ResourceError    a device or an amount that this machine or cluster does not have
├── CheckpointError      a checkpoint that cannot be read (the one before it is tried)
└── TrialFailure         a fact about one trial: reported to the sampler, the search continues
    ├── Diverged         the loss is not finite
    └── OutOfMemory      the device's memory does not hold this configuration

Every message names the place, the rule that was broken (with the value that broke it) and the
remedy. Passwords in it are hidden.
"""

from hopsearch.core.redaction import redact


class HopsearchError(Exception):
    """Root of all errors that hopsearch raises deliberately.

    Args:
        place: where it happened, e.g. ``search_spaces/imixer.yaml:13:3: model.depth``.
        rule: the rule and the value that broke it, e.g. ``low <= high must hold, got low=8,
            high=2``.
        hint: the remedy, one sentence; may be empty.
    """

    def __init__(self, place: object, rule: str, hint: str = "") -> None:
        self.place = redact(str(place))
        self.rule = redact(rule)
        self.hint = redact(hint)
        # all arguments, so that the error survives pickling between processes
        super().__init__(self.place, self.rule, self.hint)

    def __str__(self) -> str:
        text = f"{self.place}: {self.rule}"
        return f"{text}. {self.hint}" if self.hint else text


class UserError(HopsearchError):
    """An error the user can fix; verbs print it without a traceback and exit with 2."""


class ConfigError(UserError):
    """A setting is unknown, of the wrong type, or out of its range."""


class SpaceError(UserError):
    """A search space cannot be read or is invalid."""


class DataError(UserError):
    """A data set is missing, empty, or not readable."""


class StudyError(UserError):
    """A study's folder cannot be used, or the study does not fit the command."""


class ModelError(UserError):
    """A trained model's folder is missing, damaged, or of another kind; or it cannot be written."""


class TaskError(UserError):
    """The code of a user's own task raised an error, or returned what the contract does not
    allow.
    """


class ResourceError(UserError):
    """A requested device or amount of resources is not available."""


class CheckpointError(HopsearchError):
    """A checkpoint is truncated, unreadable, or not written by hopsearch."""


class TrialFailure(HopsearchError):  # noqa: N818  # a fact about a trial, not an error of the search
    """One trial cannot continue; ``reason`` is the keyword stored in the study."""

    reason = "error"


class Diverged(TrialFailure):
    """The training loss is not finite."""

    reason = "diverged"


class OutOfMemory(TrialFailure):
    """The configuration does not fit the device's memory."""

    reason = "out_of_memory"
