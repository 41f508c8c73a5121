"""Where trials run: Ray Tune's driver, the adapter between Ray Tune and the study, the winner's training, long trainings."""

from hopsearch.ray_backend.cluster import environment as environment  # before any of its modules imports ray
