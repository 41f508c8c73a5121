"""What machines cost, for an estimate: a small table with its date and source, to be read with care."""

from typing import Any

from hopsearch.distributed.clusterfile import ClusterFile

DATE = "2025"
SOURCE = "on-demand list price of Linux machines in us-west-2, aws.amazon.com/ec2/pricing/on-demand"
DOLLARS_PER_HOUR = {
    "m7i.xlarge": 0.2016,
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g5.4xlarge": 1.624,
    "g6.xlarge": 0.8048,
    "g6.4xlarge": 1.3232,
}


def most_per_hour(file: ClusterFile) -> tuple[float, list[str]]:
    """Dollars an hour when everything that may run does, at on-demand prices: spot machines cost less, disks and traffic more.

    Returns:
        The sum, and the instance types whose price is not known.
    """
    head = file.contents.get("head_node_type")
    left = int(file.contents.get("max_workers", 0))
    total, unknown = 0.0, list[str]()
    for name, node in sorted(file.node_types.items(), key=lambda pair: -_dearest(pair[1], [])):
        price = _dearest(node, unknown)
        count = 1 if name == head else min(left, int(node.get("max_workers", left)))
        left -= count if name != head else 0
        total += count * price
    return total, sorted(set(unknown))


def _dearest(node: dict[str, Any], unknown: list[str]) -> float:
    config = node.get("node_config") or {}
    types = {str(choice["InstanceType"]) for choice in (config, *config.get("Fallbacks", [])) if "InstanceType" in choice}
    unknown += types - set(DOLLARS_PER_HOUR)
    return max((DOLLARS_PER_HOUR.get(name, 0.0) for name in types), default=0.0)
