"""What every package may use: errors, settings, seeds, names, and numbers and tables in words.
Knows nothing of searching.
"""
