"""Checks the commands that start Ray on a cluster's machines, so that head and workers connect."""

import re
import shlex
from collections.abc import Iterator

from hopsearch.cluster_check.file import ClusterFile, Finding

_PORT = 6379
_HEAD = "head_start_ray_commands"
_WORKER = "worker_start_ray_commands"


def starts(file: ClusterFile) -> Iterator[Finding]:
    """The head starts with the autoscaler's file, workers with the head's address and port.

    A file without these lists uses Ray's own commands, which are correct.
    """
    heads = _starts(file, _HEAD)
    workers = _starts(file, _WORKER)
    if heads is not None:
        yield from _head(file, heads)
    if workers is not None:
        yield from _worker(workers, _port(heads[-1]) if heads else _PORT)


def _head(file: ClusterFile, starts: list[list[str]]) -> Iterator[Finding]:
    started = [words for words in starts if "--head" in words]
    if not started:
        yield Finding(
            _HEAD,
            "must start Ray with ray start --head, got no such command",
            "Copy it from cluster/aws.yaml",
        )
        return
    words = started[-1]
    if not _option(words, "--autoscaling-config"):
        rule = (
            "ray start --head must have --autoscaling-config: otherwise no worker is ever started"
        )
        yield Finding(_HEAD, rule, "Add --autoscaling-config=~/ray_bootstrap_config.yaml")
    everything = "\n".join(file.commands.get(_HEAD, []))
    if file.kind == "local" and not re.search(r"RAY_enable_autoscaler_v2=(0|false)", everything):
        rule = (
            "must set RAY_enable_autoscaler_v2=0: the newer autoscaler never starts the workers of "
            "a local provider"
        )
        yield Finding(_HEAD, rule, "Write RAY_enable_autoscaler_v2=0 ray start --head …")


def _worker(starts: list[list[str]], port: str | int) -> Iterator[Finding]:
    joined = [words for words in starts if _option(words, "--address")]
    if not joined:
        rule = "must join the head with ray start --address=$RAY_HEAD_IP:…, got no such command"
        yield Finding(_WORKER, rule, "Copy it from cluster/aws.yaml")
    for words in joined:
        host, colon, found = (_option(words, "--address") or "").rpartition(":")
        if not colon:
            host = found
            found = str(_PORT)
        if "RAY_HEAD_IP" not in host:
            yield Finding(
                _WORKER,
                f"--address must be the head's, $RAY_HEAD_IP, got {host}",
                "Write $RAY_HEAD_IP",
            )
        if found != str(port):
            rule = f"workers must join on the head's port, got {port} there and {found} here"
            yield Finding(_WORKER, rule, f"Write --address=$RAY_HEAD_IP:{port}")


def _starts(file: ClusterFile, key: str) -> list[list[str]] | None:
    """The arguments of every ``ray start`` in a list of commands; None if the file has no such
    list.
    """
    if key not in file.commands:
        return None
    commands = [
        command for line in file.commands[key] for command in re.split(r"&&|\|\||;|\|", line)
    ]
    return [_words(command) for command in commands if re.search(r"\bray\s+start\b", command)]


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that closes in another part of the line
        return command.split()


def _option(words: list[str], name: str) -> str | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name:
            return following
    return None


def _port(words: list[str]) -> str | int:
    return _option(words, "--port") or _PORT
