"""The settings of a trial: optimizer, schedule, the papers' recipes, and the location of errors."""
