"""On a spot machine: waits for the cloud's notice that the machine will be taken away, and tells
Ray to drain it.

    python spot_watcher.py aws|gcp [--metadata URL] [--every SECONDS]

Trials then save and go on elsewhere instead of losing the epoch they are in. AWS gives two minutes
(instance metadata, ``spot/instance-action``, IMDSv2), Google Cloud thirty seconds
(``instance/preempted``). Needs nothing but Python and Ray.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

METADATA = {"aws": "http://169.254.169.254", "gcp": "http://metadata.google.internal"}
GCP_NOTICE = 30.0  # seconds
MARGIN = 10.0  # seconds that draining itself may take


def read(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """The text at ``url``; None where there is none, which for a notice means all is well."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers, method=method), timeout=3
        ) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def seconds_left(cloud: str, metadata: str, now: datetime.datetime | None = None) -> float | None:
    """Seconds until the machine is taken away; None while nobody wants it."""
    if cloud == "gcp":
        said = read(
            f"{metadata}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"}
        )
        return GCP_NOTICE if said == "TRUE" else None
    token = read(
        f"{metadata}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "300"}, "PUT"
    )
    said = read(
        f"{metadata}/latest/meta-data/spot/instance-action",
        {"X-aws-ec2-metadata-token": token or ""},
    )
    if said is None:
        return None
    when = datetime.datetime.fromisoformat(json.loads(said)["time"].replace("Z", "+00:00"))
    return max(0.0, (when - (now or datetime.datetime.now(datetime.UTC))).total_seconds())


def drain(seconds: float) -> None:
    """Tell Ray that this machine goes."""
    import ray

    ray.init(address="auto", log_to_driver=False)
    node = ray.get_runtime_context().get_node_id()
    address = ray.get_runtime_context().gcs_address
    ray.shutdown()
    words = [
        "--address",
        address,
        "--node-id",
        node,
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "spot",
    ]
    subprocess.run(
        ["ray", "drain-node", *words, "--deadline-remaining-seconds", str(int(seconds))], check=True
    )


def main() -> int:
    """Wait, drain, and be done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cloud", choices=sorted(METADATA))
    parser.add_argument(
        "--metadata", help="address of the metadata service, where it is not the cloud's usual one"
    )
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    options = parser.parse_args()
    metadata = options.metadata or METADATA[options.cloud]
    while (left := seconds_left(options.cloud, metadata)) is None:
        time.sleep(options.every)
    print(f"this machine will be taken away in {left:.0f} s: draining", flush=True)
    drain(max(1.0, left - MARGIN))
    return 0


if __name__ == "__main__":
    sys.exit(main())
