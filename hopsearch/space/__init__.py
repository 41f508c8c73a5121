"""Search spaces, defined in readable YAML files.

about = {"data.image_size": 32, "data.channels": 3, "data.classes": 10, "data.n_train": 42500}
space = load_space("imixer").resolve(about).override({"model.depth": 4})
config = space.walk(lambda name, parameter: ask_a_sampler(name, parameter))
"""

from hopsearch.space.conditions import FACTS, Value
from hopsearch.space.fidelity import Fidelity
from hopsearch.space.files import SpaceFile, about_space, list_spaces, load_space
from hopsearch.space.objectives import (
    COSTS,
    Objective,
    read_costs,
    read_objectives,
    stored,
    stored_costs,
)
from hopsearch.space.parameters import Categorical, Float, Int, Parameter, scaled
from hopsearch.space.schema import DEFAULT_TASK, SPACE_KEYS, items_of
from hopsearch.space.space import Space, Suggest
from hopsearch.space.yaml_places import Where

__all__ = [
    "COSTS",
    "DEFAULT_TASK",
    "FACTS",
    "SPACE_KEYS",
    "Categorical",
    "Fidelity",
    "Float",
    "Int",
    "Objective",
    "Parameter",
    "Space",
    "SpaceFile",
    "Suggest",
    "Value",
    "Where",
    "about_space",
    "items_of",
    "list_spaces",
    "load_space",
    "read_costs",
    "read_objectives",
    "scaled",
    "stored",
    "stored_costs",
]
