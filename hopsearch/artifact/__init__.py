"""A trained model as others can load it: a folder of weights, config, model card and its own plain
code, or an ONNX file.
"""

from hopsearch.artifact.card import Provenance, model_card
from hopsearch.artifact.folder import config_of, load_model, read_config, write_folder
from hopsearch.artifact.graph import write_onnx
from hopsearch.artifact.prediction import Prediction, predict
from hopsearch.artifact.runtime import Classifier, load_classifier

__all__ = [
    "Classifier",
    "Prediction",
    "Provenance",
    "config_of",
    "load_classifier",
    "load_model",
    "model_card",
    "predict",
    "read_config",
    "write_folder",
    "write_onnx",
]
