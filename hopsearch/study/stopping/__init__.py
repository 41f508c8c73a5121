"""Early stopping: the rules, what they may look at, and their decisions, which can be made
again.
"""
