"""A trial as a job that is trained in another process; knows no Ray."""
