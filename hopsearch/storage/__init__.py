"""The copy of a study's folder in a storage that outlives the machine, and its write lock."""
