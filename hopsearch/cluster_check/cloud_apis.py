"""Validates ``node_config`` against the clouds' own API descriptions, as shipped with their Python
libraries; offline.

If a library is not installed, its cloud's configs are not checked: anyone who starts machines from
here has it.
"""

import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from hopsearch.cluster_check.file import ClusterFile, Finding
from hopsearch.core.config import did_you_mean
from hopsearch.ray_backend.cluster.fallbacks import chain

_RAYS_OWN = {"SubnetIds"}  # read by Ray's AWS provider, not passed on
_COUNTS = {"MinCount": 1, "MaxCount": 1}  # Ray's to set


def amazon(file: ClusterFile) -> Iterator[Finding]:
    """Every request of a node type, including fallbacks, matches EC2's RunInstances."""
    if importlib.util.find_spec("botocore") is None:
        return
    pool = "aws_provider" in str((file.contents.get("provider") or {}).get("module"))
    seen = set[str]()
    for name, node in file.node_types.items():
        config = node.get("node_config") or {}
        for choice in chain(config) if pool else [config]:
            wanted = {key: value for key, value in choice.items() if key not in _RAYS_OWN}
            for path, rule, remedy in _against(wanted | _COUNTS, _run_instances(), ""):
                finding = Finding(
                    f"available_node_types.{name}.node_config.{path}".rstrip("."), rule, remedy
                )
                if str(finding) not in seen:
                    seen.add(str(finding))
                    yield finding


@cache
def _run_instances() -> Any:
    import botocore.loaders
    import botocore.model

    description = botocore.loaders.Loader().load_service_model("ec2", "service-2")
    return (
        botocore.model.ServiceModel(description, "ec2").operation_model("RunInstances").input_shape
    )


_TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
}


def _against(value: Any, shape: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Deviations of ``value`` from botocore's ``shape``: path, rule, remedy."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, part in value.items():
            below = f"{path}.{key}".removeprefix(".")
            if key not in shape.members:
                yield (
                    below,
                    "unknown parameter of EC2's RunInstances",
                    _near(str(key), shape.members),
                )
            else:
                yield from _against(part, shape.members[key], below)
        for key in set(shape.required_members) - value.keys():
            yield (
                f"{path}.{key}".removeprefix("."),
                "is required by EC2's RunInstances",
                "See EC2's reference",
            )
    elif shape.type_name == "list" and isinstance(value, list):
        for number, part in enumerate(value):
            yield from _against(part, shape.member, f"{path}.{number}")
    elif shape.type_name in ("structure", "list") or not _is(value, shape.type_name):
        words = {"structure": "a mapping", "list": "a list"}.get(
            shape.type_name, f"a {shape.type_name}"
        )
        yield path, f"must be {words}, got {value!r}", "See EC2's reference of RunInstances"
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield (
            path,
            f"must be one of EC2's {len(shape.enum)} values, got {value!r}",
            _near(str(value), shape.enum),
        )


def _is(value: Any, name: str) -> bool:
    if name not in _TYPES:
        return True  # timestamps, blobs
    return isinstance(value, _TYPES[name]) and (name == "boolean") == isinstance(value, bool)  # type: ignore[arg-type]


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    hint = did_you_mean(word, names)
    return hint if len(names) <= 50 or not hint.startswith("Known") else "See the cloud's reference"


def google(file: ClusterFile) -> Iterator[Finding]:
    """Node configs are Instances of Compute Engine's API, v1."""
    library = importlib.util.find_spec("googleapiclient")
    if library is None or library.origin is None:
        return
    validator = jsonschema.Draft7Validator(_instance(str(Path(library.origin).parent)))
    for name, node in file.node_types.items():
        config = node.get("node_config") or {}
        if "acceleratorType" in config or "runtimeVersion" in config:
            continue  # a TPU, which has a different API
        for error in validator.iter_errors(config):
            path = ".".join(
                [f"available_node_types.{name}.node_config", *map(str, error.absolute_path)]
            )
            known = error.schema.get("properties", {})
            unknown = (
                [key for key in error.instance if key not in known]
                if error.validator == "additionalProperties"
                else []
            )
            for key in unknown:
                yield Finding(
                    f"{path}.{key}",
                    "unknown field of Compute Engine's Instance",
                    _near(str(key), known),
                )
            if not unknown:
                hint = _near(str(error.instance), error.schema.get("enum", []))
                yield Finding(
                    path, f"must match Compute Engine's Instance: {error.message[:200]}", hint
                )


@cache
def _instance(library: str) -> dict[str, Any]:
    text = (Path(library) / "discovery_cache" / "documents" / "compute.v1.json").read_text(
        encoding="utf-8"
    )
    parts = {name: _schema(part) for name, part in json.loads(text)["schemas"].items()}
    return {"$ref": "#/definitions/Instance", "definitions": parts}


def _schema(part: dict[str, Any]) -> dict[str, Any]:
    """A part of Google's discovery document as a strict JSON schema: 64-bit integers may be text,
    unknown fields are errors.
    """
    if "$ref" in part:
        return {"$ref": f"#/definitions/{part['$ref']}"}
    known: dict[str, Any] = {
        key: part[key] for key in ("type", "enum") if key in part and part[key] != "any"
    }
    if part.get("format") in ("int64", "uint64"):
        known["type"] = ["string", "integer"]
    if "properties" in part:
        known["properties"] = {key: _schema(value) for key, value in part["properties"].items()}
        known["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            known[key] = _schema(part[key])
    return known
