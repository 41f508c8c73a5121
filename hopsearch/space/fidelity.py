"""Fidelity: how long a trial trains, and at which epochs it is compared with the others."""

from dataclasses import asdict, dataclass

from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import shown


@dataclass(frozen=True)
class Fidelity:
    """Epochs of a trial and the rungs at which weak trials are stopped.

    Args:
        min_epochs: epochs before a trial may first be stopped.
        max_epochs: epochs of a trial that is not stopped early.
        reduction: the factor η: one in η trials continues past a rung, and the next rung is η times
            higher.
    """

    min_epochs: int = 1
    max_epochs: int = 27
    reduction: int = 3

    def __post_init__(self) -> None:
        for name, least in (("min_epochs", 1), ("max_epochs", 1), ("reduction", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                rule = f"{name} must be a whole number >= {least}, got {shown(value)}"
                raise SpaceError("fidelity", rule, f"Write {name}: {least} or more")
        if self.min_epochs > self.max_epochs:
            rule = (
                f"min_epochs <= max_epochs must hold, got min_epochs={self.min_epochs}, "
                f"max_epochs={self.max_epochs}"
            )
            raise SpaceError("fidelity", rule, "Lower min_epochs or raise max_epochs")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared: ``min_epochs * reduction**k`` below ``max_epochs``,
        then ``max_epochs``.
        """
        rungs = []
        epochs = self.min_epochs
        while epochs < self.max_epochs:
            rungs.append(epochs)
            epochs *= self.reduction
        return (*rungs, self.max_epochs)

    def to_dict(self) -> dict[str, object]:
        """Plain data, as in the YAML file."""
        return asdict(self)
