"""The checks of ``hopsearch.doctor``: a cluster file, the clouds' rules, and prices."""
