"""Terminal output: the live table, the leaderboard, a long training's progress."""
