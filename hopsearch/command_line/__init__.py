"""The command line: key=value arguments, help pages, exit codes and signals."""
