"""What one trial is given of a cluster. Knows no Ray."""

from pydantic import Field

from hopsearch.core.config import Settings


class TrialResources(Settings):
    """What one trial is given."""

    workers: int = Field(default=1, gt=0)
    """Processes that train a trial together, on one machine or several."""
    cpus: float = Field(default=1, gt=0)
    """CPU cores of a worker, and threads (at least one)."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a worker; a fraction lets several trials share one."""

    concurrent: int | None = Field(default=None, gt=0)
    """Trials at once; the cluster grows for them. By default as many as it has room for, grown as
    far as its autoscaler may.
    """

    @property
    def threads(self) -> int:
        """CPU threads of a worker."""
        return max(1, int(self.cpus))

    def bundles(self) -> list[dict[str, float]]:
        """What to reserve for a trial, together or not at all: a bundle a worker."""
        return [{"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})] * self.workers
