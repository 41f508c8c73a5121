"""The processes that train: warm workers, groups of ranks, and why one of them is lost."""
