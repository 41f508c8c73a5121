"""The resources of one trial; independent of Ray."""

from pydantic import Field

from hopsearch.core.config import Settings


class TrialResources(Settings):
    """The resources of one trial."""

    workers: int = Field(default=1, gt=0)
    """Processes that train a trial together, on one machine or several."""
    cpus: float = Field(default=1, gt=0)
    """CPU cores of a worker, and threads (at least one)."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a worker; a fraction lets several trials share one."""

    concurrent: int | None = Field(default=None, gt=0)
    """Concurrent trials; the cluster grows for them. By default as many as fit, at the autoscaler's
    maximum size.
    """

    @property
    def threads(self) -> int:
        """CPU threads of a worker."""
        return max(1, int(self.cpus))

    def bundles(self) -> list[dict[str, float]]:
        """What to reserve for a trial, all or nothing: one bundle per worker."""
        return [{"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})] * self.workers
