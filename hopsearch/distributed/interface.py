"""The network interface that ranks meet on: the one whose address Ray knows a machine by.

Gloo takes the address of the machine's own name, and Debian's and Ubuntu's /etc/hosts give that name a loopback address: ranks on
two machines then wait for each other in vain.
"""

import fcntl
import os
import socket
import struct
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

_SIOCGIFADDR = 0x8915  # Linux: an interface's IPv4 address
_NAME = "GLOO_SOCKET_IFNAME"


def interface_of(address: str) -> str:
    """The interface with an IPv4 address; empty where there is none, or the system does not tell."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # one without an address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""


def meet_where_ray_does() -> None:
    """Make this process's gloo groups use the interface of Ray's address; a choice of the user's in the environment stays."""
    if _NAME not in os.environ and (name := interface_of(ray.util.get_node_ip_address())):
        os.environ[_NAME] = name


class _Backend(_TorchBackend):  # type: ignore[misc]  # Ray has no types
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(meet_where_ray_does)
        super().on_start(worker_group, backend_config)


class RanksConfig(TorchConfig):  # type: ignore[misc]  # Ray has no types
    """Ray Train's process group, on the interface that Ray itself uses."""

    @property
    def backend_cls(self) -> type[_Backend]:
        """The class that sets the group up."""
        return _Backend
