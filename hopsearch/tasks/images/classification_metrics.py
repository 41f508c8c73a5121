"""What is measured of a model that classifies images."""

from hopsearch.core.metrics import Kind, Metric

ACCURACY = Metric("val_acc", kind=Kind.SHARE)
"""Top-1 accuracy."""
BALANCED_ACCURACY = Metric("val_balanced_acc", kind=Kind.MEAN_RECALL)
"""The mean of the classes' recalls."""
WORST_RECALL = Metric("val_worst_recall")
"""The lowest of them."""
LOSS = Metric("val_loss", maximize=False, unit="nats", shown=False)
"""Cross-entropy."""

METRICS = (ACCURACY, BALANCED_ACCURACY, WORST_RECALL, LOSS)
"""All of them; the first is the objective of a space that names none."""
