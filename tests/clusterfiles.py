"""The shipped cluster files as their users edit them, and a way to plant a mistake."""

import json
from pathlib import Path

import yaml

from hopsearch.cluster_check.checks import examine
from hopsearch.cluster_check.file import ClusterFile, Finding

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster"
GROUP = "spec/rayClusterSpec/workerGroupSpecs/0"
CONTAINER = f"{GROUP}/template/spec/containers/0"


def put(path, value):
    """A change to a file's contents: sets a path with slashes (``~`` for one in a name), or takes
    it away where it is None.
    """

    def change(contents):
        *parents, leaf = (part.replace("~", "/") for part in path.split("/"))
        for parent in parents:
            contents = contents[int(parent) if isinstance(contents, list) else parent]
        place = int(leaf) if isinstance(contents, list) else leaf
        if value is None:
            del contents[place]
        else:
            contents[place] = value

    return change


EDITS = {  # what the files' first lines ask for
    "aws": [("203.0.113.7/32", "198.18.0.7/32")],
    "gcp": [("project_id: my-project", "project_id: mixers-7")],
    "local": [("192.0.2.", "198.18.0.")],
    "kuberay": [("registry.example.com", "registry.mixers.dev")],
}


def edited(name):
    text = (CLUSTER / f"{name}.yaml").read_text()
    for example, mine in EDITS[name]:
        assert example in text
        text = text.replace(example, mine)
    return text


def contents_of(name):
    """A shipped file's contents with its EDIT lines edited; anchors share parts, and a mistake is
    planted in one place.
    """
    return json.loads(json.dumps(yaml.safe_load(edited(name))))


def examined(contents) -> list[Finding]:
    return examine(ClusterFile(CLUSTER / "mistake.yaml", contents, (1, 1)))
