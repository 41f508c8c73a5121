"""Approximate machine prices for an estimate: a small table with its source."""

from typing import Any

from hopsearch.cluster_check.file import ClusterFile

SOURCE = "on-demand prices of Linux machines as in SkyPilot's catalog v8, commit 00148f2"
"""``catalogs/v8/aws/vms.csv`` of github.com/skypilot-org/skypilot-catalog, which is made from
Amazon's price list, at commit 00148f2af3672e2229b4f7bf8157d5a3f36e3c35; each figure was read there
on 2026-11-21. The file itself is not dated: a figure may be older, and Amazon's own page,
aws.amazon.com/ec2/pricing/on-demand, was not asked. Google Cloud and Kubernetes are not listed.
"""
REGIONS = ("us-east-1", "us-east-2", "us-west-2")
"""Regions of the figures: the catalog has the same ones in all three. Other regions may differ."""
DOLLARS_PER_HOUR = {
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g5.4xlarge": 1.624,
    "g6.xlarge": 0.8048,
    "g6.4xlarge": 1.3232,
    "m7i.xlarge": 0.2016,
}
"""By instance type."""


def most_per_hour(file: ClusterFile) -> tuple[float, list[str]]:
    """Maximum dollars per hour at on-demand prices, with all machines running: spot machines cost
    less; disks and traffic are extra.

    Returns:
        The sum, and the instance types whose price is unknown.
    """
    head = file.contents.get("head_node_type")
    left = int(file.contents.get("max_workers", 0))
    total = 0.0
    unknown = list[str]()
    for name, node in sorted(file.node_types.items(), key=lambda pair: -_dearest(pair[1], [])):
        price = _dearest(node, unknown)
        count = 1 if name == head else min(left, int(node.get("max_workers", left)))
        left -= count if name != head else 0
        total += count * price
    return total, sorted(set(unknown))


def _dearest(node: dict[str, Any], unknown: list[str]) -> float:
    config = node.get("node_config") or {}
    types = {
        str(choice["InstanceType"])
        for choice in (config, *config.get("Fallbacks", []))
        if "InstanceType" in choice
    }
    unknown += types - set(DOLLARS_PER_HOUR)
    return max((DOLLARS_PER_HOUR.get(name, 0.0) for name in types), default=0.0)
