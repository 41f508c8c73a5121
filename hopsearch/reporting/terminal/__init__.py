"""What a terminal shows: the live table, the leaderboard, a long training's progress."""
