"""What ``hopsearch.doctor`` knows: a cluster file, what a cloud refuses, and what it costs."""
