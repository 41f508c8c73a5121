"""Foundations for all packages: errors, settings, seeds, names, and formatting of numbers and
tables. Independent of searching.
"""
