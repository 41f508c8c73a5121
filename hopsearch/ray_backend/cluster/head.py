"""A local Ray cluster: only the parts that a search needs, on loopback, in a private folder.

`ray.init` would start three more processes that are not used here (the dashboard server, the
monitors of the autoscaler and of logs), wait for the first of them before starting workers, and
listen on every interface. Ray's internals are used instead, as in its `cluster_utils`; there is no
public way (as of 2.60, to which Ray is pinned).
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.node import Node
from ray._private.parameter import RayParams

from hopsearch.core.errors import ResourceError
from hopsearch.ray_backend.cluster.forkserver import LAUNCHER, POSSIBLE, ForkServer

_LOOPBACK = "127.0.0.1"
_BELOW = "ray"  # Ray makes its folder accessible to everyone; the enclosing one stays private
_LONGEST = 40  # most characters of the folder: a socket's path may have 107, and Ray adds up to 66
# By default Ray starts one worker per core when a driver connects, and the driver waits for them
# holding the GIL: nothing else proceeds meanwhile, no import and no Ctrl-C. Here they are started
# equally early, but not waited for.
_EARLY_WORKERS = {"prestart_worker_first_driver": False, "enable_worker_prestart": True}
_PLACES = (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")


class _Head(Node):  # type: ignore[misc]  # Ray has no types
    def start_api_server(self, **_: object) -> None:
        """Nothing: it is not used."""


class Head:
    """Ray on this machine, connected.

    Args:
        memory: bytes of the object store.
        forked: whether workers are forked from a process that has imported what they need, see
            `ForkServer`.
        init: further arguments of ``ray.init``.
    """

    def __init__(self, memory: int, forked: bool, **init: object) -> None:
        self._node: Node | None = None
        self._server: ForkServer | None = None
        try:
            self._start(memory, forked and POSSIBLE, **init)
        except BaseException:
            self.end()
            raise

    def _start(self, memory: int, forked: bool, **init: object) -> None:
        folder = ray_folder()
        ensure_token_if_auth_enabled({}, create_token_if_missing=True)
        self._server = ForkServer() if forked else None
        with _alone(), self._server.announced() if self._server else contextlib.nullcontext():
            self._node = _Head(
                ray_params=RayParams(
                    node_ip_address=_LOOPBACK,
                    object_store_memory=memory,
                    include_dashboard=False,
                    include_log_monitor=False,
                    no_monitor=True,
                    temp_dir=str(folder),
                    worker_path=str(LAUNCHER) if forked else None,
                    _system_config=dict(_EARLY_WORKERS) if forked else None,
                ),
                head=True,
                shutdown_at_exit=False,
                spawn_reaper=True,
                ray_init_cluster=True,
            )
            ray.init(address=self._node.gcs_address, _temp_dir=str(folder), **init)

    def end(self) -> None:
        """Disconnect, and end Ray's processes."""
        ray.shutdown()
        if self._node is not None:
            self._node.kill_all_processes(check_alive=False, allow_graceful=True)
        if self._server is not None:
            self._server.close()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    # As on systems where Ray does not join clusters: a loopback address is then left unchanged.
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def ray_folder() -> Path:
    """A folder for Ray's sockets and logs that only this user can access, with a short name
    whatever TMPDIR is.

    Raises:
        ResourceError: no suitable location was found.
    """
    for place in map(Path, _PLACES):
        folder = place / f"hopsearch-{os.getuid()}"
        if len(str(folder / _BELOW)) > _LONGEST:
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _only_mine(folder):  # another process was faster
                folder = Path(tempfile.mkdtemp(prefix="hs-", dir=place))
            (folder / _BELOW).mkdir(exist_ok=True)
            return folder / _BELOW
    rule = (
        f"Ray's sockets need a folder with a path of at most {_LONGEST} characters, got none "
        f"in {', '.join(_PLACES)}"
    )
    raise ResourceError("TMPDIR", rule, "Set TMPDIR to a short, writable folder")


def _only_mine(folder: Path) -> bool:
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
