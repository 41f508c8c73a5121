"""Storage of a study: the journal's file or a database, and the writer's lock."""
