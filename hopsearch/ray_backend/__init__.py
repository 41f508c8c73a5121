"""Running trials on Ray: the Ray Tune driver, the adapter between Ray Tune and the study, the
winner's training, long trainings.
"""

# before any of its modules imports ray
from hopsearch.ray_backend.cluster import environment as environment
