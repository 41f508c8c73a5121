"""Where it runs: Ray Tune's driver, the adapter between it and the study, warm workers, and the live view."""

from hopsearch.distributed import environment as environment  # before any of its modules imports ray
