"""How a command line is read, helped and ended: words, help pages, exit codes, signals."""
