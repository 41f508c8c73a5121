"""A trial as a job that is trained in another process; independent of Ray."""
