"""hopsearch: distributed hyperparameter and architecture search for Hopfield-derived vision mixers."""

__version__ = "0.1.0"
