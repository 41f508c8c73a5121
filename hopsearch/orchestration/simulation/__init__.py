"""Simulated searches: recorded or synthetic learning curves, with simulated time, failures and
preemptions; and the plan of a search, which is made from one.
"""
