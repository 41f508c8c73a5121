"""The lab's fixtures. A machine that cannot have one says why and skips."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.network import Network, missing


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Iterator[Network]:
    reason = missing() or (
        "" if importlib.util.find_spec("moto") else "not installed: moto; `make setup` brings it"
    )
    if reason:
        pytest.skip(reason)
    with Network(Path(tmp_path_factory.mktemp("lab")) / "network") as network:
        yield network
