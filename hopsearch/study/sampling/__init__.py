"""Proposals: samplers, their view of a study, prior beliefs, and warm starts from other studies."""
