"""An autoscaled Ray cluster of one machine, in namespaces of its own: Ray's `AutoscalingCluster`
ends every Ray process it sees.

    unshare --pid --fork --mount-proc --kill-child --net python autoscaled.py JSON

starts a head without CPUs, runs the JSON's ``commands`` one after the other (each its ``words``,
and when to SIGKILL it: ``kill`` in seconds, ``until_fewer`` when a machine has gone), and prints
one JSON line: what they said, and second by second the GPUs of each machine that was alive beside
the head.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import AutoscalingCluster

HEAD = "ray.head.default"  # the provider's own name for it
LISTS = (
    "initialization",
    "setup",
    "head_setup",
    "worker_setup",
    "head_start_ray",
    "worker_start_ray",
)


class Autoscaled(AutoscalingCluster):
    """Brings the config that Ray's wheel lacks (`fake_multi_node/example.yaml` at 2.60), for `ray
    up`'s autoscaler.
    """

    def _generate_config(self, head_resources, worker_node_types, autoscaler_v2=False, **more):
        types = worker_node_types | {
            HEAD: {"resources": head_resources, "node_config": {}, "max_workers": 0}
        }
        return {
            "cluster_name": "fake_multinode",
            "provider": {
                "type": "external",
                "module": "ray.autoscaler._private.fake_multi_node.node_provider"
                ".FakeMultiNodeProvider",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "launch_multiple": True,
                "head_node_id": FAKE_HEAD_NODE_ID,
            },
            "head_node_type": HEAD,
            "available_node_types": types,
            "auth": {},
            "docker": {},
            "upscaling_speed": 1.0,
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "cluster_synced_files": [],
            "rsync_exclude": [],
            "rsync_filter": [],
            **{f"{name}_commands": [] for name in LISTS},
            **more,
        }


def loopback_up() -> None:
    """A new network namespace's own loopback is down."""
    with socket.socket() as any_socket:
        # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))


def watch(rows: list, began: float) -> None:
    """Note every second how many machines there are beside the head."""
    while True:
        workers = [
            node
            for node in ray.nodes()
            if node["Alive"] and "node:__internal_head__" not in node["Resources"]
        ]
        rows.append(
            (
                round(time.monotonic() - began, 1),
                [int(node["Resources"].get("GPU", 0)) for node in workers],
            )
        )
        time.sleep(1)


def run(words: list[str], rows: list, kill: float | None, until_fewer: bool) -> dict:
    """Run a command to its end, or SIGKILL it after so many seconds, or as soon as a machine that
    it had has gone.
    """
    first, began = len(rows), time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            counts = [len(machines) for _, machines in rows[first:]] or [0]
            if (kill and time.monotonic() - began > kill) or (
                until_fewer and counts[-1] < max(counts)
            ):
                process.kill()
            time.sleep(0.2)
        output.seek(0)
        return {"code": process.returncode, "output": output.read()}


def main() -> None:
    """Start, run, wait until all workers have gone, tell."""
    wanted = json.loads(sys.argv[1])
    loopback_up()
    types = {
        name: {"node_config": {}, "min_workers": 0, **node}
        for name, node in wanted["types"].items()
    }
    cluster = Autoscaled(
        {"CPU": 0}, types, True, max_workers=wanted["max_workers"], idle_timeout_minutes=0.1
    )
    cluster.start()
    ray.init(address="auto", log_to_driver=False)
    rows, began = [], time.monotonic()
    threading.Thread(target=watch, args=(rows, began), daemon=True).start()
    done = []
    for each in wanted["commands"]:
        start = time.monotonic() - began
        told = run(each["words"], rows, each.get("kill"), each.get("until_fewer", False))
        done.append(told | {"began": start, "ended": time.monotonic() - began})
    deadline = time.monotonic() + wanted["patience"]
    while rows[-1][1] and time.monotonic() < deadline:
        time.sleep(1)
    print("\n" + json.dumps({"done": done, "rows": rows}), flush=True)
    os._exit(0)  # and with process 1 the namespace's all


if __name__ == "__main__":
    main()
