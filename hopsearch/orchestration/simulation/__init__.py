"""Simulated searches: recorded or synthetic learning curves, with simulated time, failures and
preemptions.
"""
