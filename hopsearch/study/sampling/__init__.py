"""Proposals: the samplers, what they are shown of a study, beliefs, and what is taken over from
another study.
"""
