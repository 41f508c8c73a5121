"""Where it runs: Ray Tune's driver, the adapter between it and the study, warm workers, and the live view."""
