"""Early stopping: the rules, their evidence, and their reproducible decisions."""
