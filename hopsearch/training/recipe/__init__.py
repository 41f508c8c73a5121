"""The settings of a trial: optimizer, schedule, the papers' recipes, and whose mistake a wrong one
is.
"""
