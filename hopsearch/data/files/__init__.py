"""From image files to arrays: what is asked for, how it is split, each file's pixels, decoded
once.
"""
