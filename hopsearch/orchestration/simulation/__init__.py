"""A search without training: recorded or made-up learning curves, a clock, failures and
preemptions.
"""
