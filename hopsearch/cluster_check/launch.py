"""Runs ``ray up``'s own offline checks: Ray's schema, then Ray's preparation of the file."""

import contextlib
import copy
import io
import json
import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import jsonschema
import ray.autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

from hopsearch.cluster_check.file import ClusterFile, Finding, listed, mapping
from hopsearch.core.config import did_you_mean

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def schema(file: ClusterFile) -> Iterator[Finding]:
    """The file matches Ray's own schema, without unknown fields."""
    for error in jsonschema.Draft7Validator(_rays_schema()).iter_errors(file.contents):
        place = ".".join(map(str, error.absolute_path)) or "the file"
        unknown = re.search(r"\('(\w+)' was unexpected\)", error.message)
        if unknown:
            fields = error.schema.get("properties", {})
            yield Finding(
                f"{place}.{unknown[1]}".removeprefix("the file."),
                "unknown field",
                did_you_mean(unknown[1], fields),
            )
        else:
            yield Finding(
                place,
                f"must match Ray's schema: {error.message[:200]}",
                "See the comments in cluster/aws.yaml",
                True,
            )
    yield from _shape(file)
    head = file.contents.get("head_node_type")
    if file.node_types and str(head) not in file.node_types:
        rule = f"must be one of the node types, got {head!r}"
        yield Finding("head_node_type", rule, did_you_mean(str(head), file.node_types), True)


@cache
def _rays_schema() -> Any:
    return json.loads(
        (Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8")
    )


def _shape(file: ClusterFile) -> Iterator[Finding]:
    """Errors that Ray's schema allows but Ray's code fails on."""
    remedy = "See the comments in cluster/aws.yaml"
    if (file.contents.get("provider") or {}).get("type") != "local" and not file.node_types:
        yield Finding(
            "available_node_types", "must list the types of machines, got none", remedy, True
        )
    for name, node in file.node_types.items():
        for key in ("node_config", "resources"):
            value = node.get(key)
            if value is not None and not isinstance(value, dict):
                yield Finding(
                    f"available_node_types.{name}.{key}",
                    f"must be a mapping, got {value!r}",
                    remedy,
                    True,
                )
        fallbacks = mapping(node.get("node_config")).get("Fallbacks") or []
        if not isinstance(fallbacks, list) or not all(isinstance(each, dict) for each in fallbacks):
            place = f"available_node_types.{name}.node_config.Fallbacks"
            yield Finding(place, f"must be a list of mappings, got {fallbacks!r}", remedy, True)
        for resource, amount in mapping(node.get("resources")).items():
            if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
                place = f"available_node_types.{name}.resources.{resource}"
                yield Finding(
                    place, f"must be a number from 0, got {amount!r}", "Set a number", True
                )
    yield from _rules(file)
    for target, source in mapping(file.contents.get("file_mounts")).items():
        if not isinstance(source, str):
            yield Finding(
                f"file_mounts.{target}",
                f"must be a path, got {source!r}",
                "Set the path of a folder",
                True,
            )
    for key, lines in file.commands.items():
        for number, line in enumerate(lines):
            if not isinstance(line, str):
                yield Finding(
                    f"{key}.{number}",
                    f"must be a shell command, got {line!r}",
                    "Quote the line",
                    True,
                )


def _rules(file: ClusterFile) -> Iterator[Finding]:
    group = mapping(mapping(file.contents.get("provider")).get("security_group"))
    for number, rule in enumerate(listed(group.get("IpPermissions"))):
        place = f"provider.security_group.IpPermissions.{number}"
        ranges = rule.get("IpRanges", []) if isinstance(rule, dict) else None
        if not isinstance(ranges, list) or not all(isinstance(each, dict) for each in ranges):
            remedy = "Copy one from cluster/aws.yaml"
            yield Finding(
                place,
                f"must be a rule with IpRanges, each with a CidrIp, got {rule!r}",
                remedy,
                True,
            )


def preparation(file: ClusterFile) -> Iterator[Finding]:
    """Ray's own preparation and validation of a file, as in ``ray up`` before it contacts the
    cloud.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), _quiet():
            prepared = prepare_config(copy.deepcopy(file.contents))
            # Ray fills these in from the cloud's data about the types; validation requires them.
            prepared.setdefault("cluster_synced_files", [])
            for node in prepared.get("available_node_types", {}).values():
                node.setdefault("resources", {})
                node.setdefault("node_config", {})
            validate_config(prepared)
    except jsonschema.ValidationError as error:
        place = ".".join(map(str, error.absolute_path)) or "the file"
        yield Finding(
            place, f"Ray refuses it: {error.message[:200]}", "See the comments in cluster/aws.yaml"
        )
    except click.ClickException as error:
        yield Finding(
            "the file",
            f"Ray refuses it: {error.format_message() or _last_line(said.getvalue())}",
            _REMEDY,
        )
    except ImportError as error:
        rule = f"Ray needs a library of this cloud to read the file: {error}"
        yield Finding("provider.type", rule, f"pip install 'hopsearch[{file.kind}]'")
    except (
        AssertionError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        AttributeError,
        NotImplementedError,
    ) as error:
        yield Finding(
            "the file", f"Ray refuses it: {type(error).__name__}: {str(error)[:200]}", _REMEDY
        )


_REMEDY = "Compare with the file of this kind in cluster/"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("ray.autoscaler")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def docker(file: ClusterFile) -> Iterator[Finding]:
    """The docker section is complete: without both names Ray starts the machines and then ignores
    or refuses it.
    """
    section = file.contents.get("docker")
    if not isinstance(section, dict) or not section:
        return
    image = section.get("image") or (section.get("head_image") and section.get("worker_image"))
    for key, given in (("image", image), ("container_name", section.get("container_name"))):
        if not given:
            rule = "is required: Ray uses docker only with an image and a container name"
            yield Finding(f"docker.{key}", rule, "Set both, or leave docker out")


def keys(file: ClusterFile) -> Iterator[Finding]:
    """SSH keys exist, and machines on AWS get them."""
    auth = file.contents.get("auth") or {}
    if file.kind == "aws" and auth.get("ssh_private_key"):
        for name, node in file.node_types.items():
            config = node.get("node_config") or {}
            if "KeyName" not in config and "UserData" not in config:
                rule = (
                    "is required with auth.ssh_private_key: otherwise the machine does not know "
                    "the key"
                )
                place = f"available_node_types.{name}.node_config.KeyName"
                yield Finding(
                    place,
                    rule,
                    "Set the key pair's name, or leave auth.ssh_private_key out: Ray creates a "
                    "pair",
                )
    for key in ("ssh_private_key", "ssh_public_key"):
        given = auth.get(key)
        if not given:
            continue
        path = Path(str(given)).expanduser()
        if not path.is_file():
            yield Finding(
                f"auth.{key}",
                f"must be a key file on this machine, got {given}, which does not exist",
                "Correct the path",
            )
        elif key == "ssh_private_key" and path.stat().st_mode & 0o077:
            rule = (
                f"must be readable by its owner only, got {given} with mode "
                f"{path.stat().st_mode & 0o777:o}: ssh ignores it"
            )
            yield Finding(f"auth.{key}", rule, f"chmod 600 {given}")


def mounts(file: ClusterFile) -> Iterator[Finding]:
    """Sources of mounts exist. Ray resolves them relative to the current folder, not to the
    file's.
    """
    for target, source in (file.contents.get("file_mounts") or {}).items():
        path = Path(str(source)).expanduser()
        place = f"file_mounts.{target}"
        if path.exists():
            continue
        if str(source).rstrip("/") == "~/.ray/hopsearch":
            yield Finding(
                place,
                f"must exist on this machine, got {source}, which does not",
                "Run sh cluster/new-token.sh once",
            )
        else:
            elsewhere = [
                folder for folder in file.path.resolve().parents[:2] if (folder / path).exists()
            ]
            where = f"Run it in {elsewhere[0]}" if elsewhere else "Correct the path"
            yield Finding(
                place,
                f"must exist, relative to the current folder, got {source}, which does not",
                where,
            )
