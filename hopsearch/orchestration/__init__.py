"""A search's decisions: what is handed out and taken in, budgets, checkpoints, the plan, the time
left. Knows no Ray.
"""
