"""The network interface on which ranks communicate: the one whose address Ray uses for a machine,
and no other.

By default torch's store listens on every interface, and gloo uses the address of the machine's host
name, which Debian's and Ubuntu's /etc/hosts map to a loopback address: ranks on two machines then
wait for each other forever.
"""

import datetime
import fcntl
import os
import socket
import struct
from typing import Any

import ray
import torch.distributed as dist
from ray.train._internal.utils import get_address_and_port
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not in __all__

_SIOCGIFADDR = 0x8915  # Linux: an interface's IPv4 address
_NAME = "GLOO_SOCKET_IFNAME"


def interface_of(address: str) -> str:
    """The interface with an IPv4 address; empty if there is none, or it cannot be determined."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(
                    asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15])
                )
            except OSError:  # one without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""


def meet_where_ray_does() -> None:
    """Make this process's gloo groups use the interface of Ray's address; a user's setting in the
    environment is kept.
    """
    if _NAME not in os.environ and (name := interface_of(ray.util.get_node_ip_address())):
        os.environ[_NAME] = name


def hosted_store(host: str, port: int, world: int, patience: datetime.timedelta) -> TCPStore:
    """Rank 0's store, listening on one address of this machine.

    Args:
        host: the address.
        port: 0 picks a free one.
        world: number of ranks.
        patience: timeout of an operation.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.create_server((host, port), family=family)
    port = door.getsockname()[1]
    handle = door.detach()
    return TCPStore(
        host,
        port,
        world,
        is_master=True,
        timeout=patience,
        wait_for_workers=False,
        master_listen_fd=handle,
    )


def _join(rank: int, world: int, host: str, port: int, config: TorchConfig) -> None:
    patience = datetime.timedelta(seconds=config.timeout_s)
    if rank == 0:
        store = hosted_store(host, port, world, patience)
    else:
        store = TCPStore(host, port, world, is_master=False, timeout=patience)
    dist.init_process_group(
        config.backend, store=store, rank=rank, world_size=world, timeout=patience
    )


class _Backend(_TorchBackend):  # type: ignore[misc]  # Ray has no types
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Like Ray's own, except for where the store listens."""
        worker_group.execute(meet_where_ray_does)
        worker_group.execute(_set_torch_distributed_env_vars)
        host, port = worker_group.execute_single(0, get_address_and_port)
        world = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, _join, rank, world, host, port, backend_config
                )
                for rank in range(world)
            ]
        )


class RanksConfig(TorchConfig):  # type: ignore[misc]  # Ray has no types
    """Ray Train's process group, on the interface that Ray itself uses."""

    @property
    def backend_cls(self) -> type[_Backend]:
        """The class that sets the group up."""
        return _Backend
