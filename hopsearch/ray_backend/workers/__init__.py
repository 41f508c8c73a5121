"""The training processes: warm workers, groups of ranks, and causes of their loss."""
