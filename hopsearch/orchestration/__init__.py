"""The control of a search, independent of Ray: dispatching trials, budgets, checkpoints, the plan,
the time left.
"""
