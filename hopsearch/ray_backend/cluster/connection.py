"""The Ray cluster: started on this machine or joined, private by default; and its resources."""

import contextlib
import logging
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence

import ray
from ray._private.accelerators import get_accelerator_manager_for_resource
from ray._private.utils import get_num_cpus

from hopsearch.command_line import signals
from hopsearch.core.errors import ResourceError
from hopsearch.core.redaction import redact
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.cluster.growth import HEAD, Growth
from hopsearch.ray_backend.cluster.head import Head

Machine = dict[str, float]
"""A machine's resources in Ray's terms, e.g. ``{"CPU": 4, "GPU": 1}``."""

_MEMORY = 200_000_000  # bytes
_PATIENCE = 30.0  # seconds for Ray to end

MOST = 64
"""Most concurrent trials on a growing cluster, unless set: with too many, the sampler learns
late.
"""


_ahead: "list[_Keeper]" = []  # a cluster that was started ahead


@contextlib.contextmanager
def connect(
    address: str | None = None, memory: int = _MEMORY, forked: bool = False
) -> Iterator[None]:
    """Join the cluster at ``address``, or start one on this machine and stop it afterwards.

    A cluster started here has token authentication on: with the user's own token, or one that only
    its processes know.

    Args:
        address: ``auto``, ``host:port``, or None for a cluster of this machine's own.
        memory: bytes of the local object store; jobs and results are small, so little is needed.
        forked: whether workers of a cluster started here are forked, see `ForkServer`; they start
            faster and share memory.

    Raises:
        ResourceError: no cluster answers at ``address``.
    """
    with signals.given_back():
        keeper = _ahead.pop() if _ahead and not address else _Keeper(address, memory, forked)
        try:
            keeper.wait()
            yield
        finally:
            with signals.held():
                keeper.end()


def start_ahead(words: Sequence[str]) -> None:
    """Start Ray while the rest of a program is still imported, unless its arguments show that it
    will not be needed.

    Only for a supervised process: if the arguments turn out to be invalid it ends, and Ray with it.
    """
    known = {key: value for key, _, value in (word.partition("=") for word in words)}
    if (
        signals.supervised()
        and known
        and not {"-h", "--help", "help", "address", "dry_run"} & known.keys()
    ):
        _ahead.append(_Keeper(None, _MEMORY, forked=True))


class _Keeper(threading.Thread):
    """Starts, keeps and ends Ray on a dedicated thread.

    Ray replaces signal handlers if it is started on the main thread, and a signal would interrupt
    its start or shutdown midway. The thread lives as long as the cluster: Linux ends Ray's
    processes with the thread that started them.
    """

    def __init__(self, address: str | None, memory: int, forked: bool) -> None:
        super().__init__(name="ray", daemon=True)
        self._address = address
        self._memory = memory
        self._forked = forked
        self._error: BaseException | None = None
        self._head: Head | None = None
        self._up = threading.Event()
        self._leave = threading.Event()
        self.start()

    def run(self) -> None:
        """Start Ray; end it when asked to."""
        try:
            self._init()
        except BaseException as error:  # re-raised in the waiting thread
            self._error = error
        self._up.set()
        self._leave.wait()
        if self._head is not None:
            self._head.end()
        else:
            ray.shutdown()

    def wait(self) -> None:
        """Wait until Ray has started.

        Raises:
            ResourceError: no cluster answers.
        """
        self._up.wait()
        if self._error is None:
            return
        if not self._address or not isinstance(self._error, (OSError, RuntimeError, ValueError)):
            raise self._error
        hint = (
            "Start one with `ray start --head`, or leave address= out; a cluster without tokens "
            "needs RAY_AUTH_MODE=disabled"
        )
        raise ResourceError(
            "address", f"a Ray cluster must answer at {self._address}, got: {self._error}", hint
        ) from None

    def end(self) -> None:
        """End Ray; processes that do not end in time are left to end with this one."""
        if signals.supervised() and not self._address:
            # this process is about to end, and Ray's with it: faster, and equally orderly
            return
        self._leave.set()
        self.join(_PATIENCE)

    def _init(self) -> None:
        quiet: dict[str, object] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
        }
        with warnings.catch_warnings(), _command_hidden():
            warnings.simplefilter("ignore")  # Ray warns about its own future defaults
            if self._address:
                _require_answer(self._address)
                ray.init(address=self._address, **quiet)
            else:
                self._head = Head(self._memory, self._forked, **quiet)


@contextlib.contextmanager
def _command_hidden() -> Iterator[None]:
    # Ray keeps the driver's command line as the job's entrypoint, in its logs and for its
    # dashboard.
    known = ray._private.utils.get_entrypoint_name
    ray._private.utils.get_entrypoint_name = lambda: redact(known())
    try:
        yield
    finally:
        ray._private.utils.get_entrypoint_name = known


def _require_answer(address: str) -> None:
    # Ray itself tries for minutes.
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def this_machine() -> Machine:
    """The resources that Ray would detect on this machine, from Ray's internals without starting it
    (there is no public way as of 2.60).
    """
    gpus = get_accelerator_manager_for_resource("GPU")
    visible = gpus.get_current_process_visible_accelerator_ids()
    found = gpus.get_current_node_num_accelerators()
    return {
        "CPU": float(get_num_cpus()),
        "GPU": float(found if visible is None else min(found, len(visible))),
    }


def slots(
    resources: TrialResources,
    grown: Growth | None = None,
    trials: int | None = None,
    alone: Machine | None = None,
) -> int:
    """How many trials to run at once: as many as fit with all their workers, so that none waits for
    another's.

    Args:
        resources: of a trial.
        grown: what the cluster can grow to, if known.
        trials: total number of trials, an upper limit.
        alone: the machine to be used exclusively by the search, instead of the connected cluster.

    Raises:
        ResourceError: not even one can ever be placed.
    """
    if resources.workers > 1 and resources.gpus % 1:
        rule = f"a trial with several workers needs whole GPUs, got {resources.gpus:g} each"
        raise ResourceError("trial.gpus", rule, "Set one GPU per worker, or one worker per trial")
    if resources.concurrent and grown is None and alone is None:
        return resources.concurrent  # machines may still join
    room = places(resources, "trial.", grown, alone)
    if resources.workers > room:
        when = f"when grown to {grown}" if grown else "now"
        rule = (
            f"the cluster must have room for the {resources.workers} workers of a trial, got "
            f"{room} {when}"
        )
        hint = "Lower it, or trial.cpus, or join a larger cluster: address=…"
        raise ResourceError(
            "trial.workers",
            rule,
            hint if grown or alone else f"{hint}; trial.concurrent=… waits for machines",
        )
    most = room // resources.workers
    if resources.concurrent:
        return resources.concurrent if alone is None else min(resources.concurrent, most)
    return most if grown is None else min(most, MOST, trials or most)


def places(
    resources: TrialResources,
    section: str = "",
    grown: Growth | None = None,
    alone: Machine | None = None,
) -> int:
    """How many workers fit on the idle cluster, machine by machine.

    Args:
        resources: of a worker.
        section: prefix of the settings in an error message.
        grown: what the cluster can grow to; by default its current size.
        alone: as in `slots`.

    Raises:
        ResourceError: no machine has room for even one.
    """
    nodes = [alone] if alone else [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [("", node) for node in nodes] + [
        (str(each), each.resources) for each in (grown.types if grown else ())
    ]
    for key, wanted, unit in (("gpus", resources.gpus, "GPU"), ("cpus", resources.cpus, "CPU")):
        name, largest = max(machines, key=lambda machine: machine[1].get(unit, 0.0))
        most = largest.get(unit, 0.0)
        if wanted > most:
            hint = (
                "Set 0 to train on CPUs, or join a cluster with GPUs: address=…"
                if key == "gpus"
                else "Lower it"
            )
            rule = (
                f"a machine of the cluster must have {wanted:g} {unit} for a worker, got "
                f"{most:g} at most"
            )
            raise ResourceError(f"{section}{key}", f"{rule}, on {name}" if name else rule, hint)
    now = sum(_workers(node, resources) for node in nodes)
    if grown is None:
        return now
    head = sum(_workers(node, resources) for node in nodes if HEAD in node)
    most = head + grown.fit(_workers(each.resources, resources) for each in grown.types)
    if not max(now, most):
        rule = (
            f"one machine must have both {resources.cpus:g} CPU and {resources.gpus:g} GPU for a "
            f"worker, got {grown}"
        )
        raise ResourceError(
            f"{section}cpus", rule, "Lower it, or add a larger node type to the cluster file"
        )
    return max(now, most)


def _workers(node: dict[str, float], resources: TrialResources) -> int:
    by_cpu = int(node.get("CPU", 0.0) // resources.cpus)
    if not resources.gpus:
        return by_cpu
    gpus = int(node.get("GPU", 0.0))
    return min(
        by_cpu,
        gpus * int(1 // resources.gpus) if resources.gpus < 1 else gpus // int(resources.gpus),
    )
