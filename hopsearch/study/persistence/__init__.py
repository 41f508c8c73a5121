"""Where a study is kept: the journal's file or a database, and the one writer's lock."""
