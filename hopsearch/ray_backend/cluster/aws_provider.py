"""An AWS node provider whose node types have fallbacks, and whose security group is what the
cluster file says.

Where a type has no capacity, the next is asked for in the same call; Ray 2.60's autoscalers ask for
the refused type again and again instead. Named in ``cluster/aws.yaml`` as ``provider.module``; a
node type's ``node_config`` lists what to try after itself under ``Fallbacks``, each a part of a
node config that overrules the type's own. ``InstanceMarketOptions: null`` asks for an on-demand
machine.

Ray opens SSH to the whole world in every security group it makes, whatever the file says beside it,
and never looks at a group again that has rules. Here the addresses that may come in are the file's,
at every ``ray up``.
"""

from typing import Any

import boto3
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

from hopsearch.ray_backend.cluster.fallbacks import chain, describe

CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",
        "VcpuLimitExceeded",
    }
)
"""EC2's error codes that another type, market or zone may not have."""


class SpotPool(AWSNodeProvider):  # type: ignore[misc]  # Ray has no types
    """Ray's AWS provider with fallbacks and a closed door."""

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Ray's own preparation of a cluster, then its security groups made equal to the file."""
        config: dict[str, Any] = AWSNodeProvider.bootstrap_config(cluster_config)
        wanted = (config["provider"].get("security_group") or {}).get("IpPermissions")
        if wanted is not None:
            ec2 = boto3.client("ec2", config["provider"]["region"])
            kinds = config["available_node_types"].values()
            for group in sorted(
                {
                    group
                    for kind in kinds
                    for group in kind["node_config"].get("SecurityGroupIds", [])
                }
            ):
                set_doors(ec2, group, wanted)
        return config

    def _create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any:
        choices = chain(node_config)
        for place, choice in enumerate(choices):
            try:
                return super()._create_node(choice, dict(tags), count)
            except NodeLaunchException as error:
                if error.category not in CAPACITY or place == len(choices) - 1:
                    raise
                # The autoscaler's log is what `ray monitor` shows.
                print(
                    (
                        f"spot pool: no {describe(choice)} ({error.category}), trying "
                        f"{describe(choices[place + 1])}"
                    ),
                    flush=True,
                )
        raise AssertionError("a node type is at least itself")


def set_doors(ec2: Any, group: str, wanted: list[dict[str, Any]]) -> None:
    """Let in the wanted addresses and no others; what the group's own machines may do among
    themselves is left alone.

    Args:
        ec2: a boto3 client.
        group: id of a security group.
        wanted: ``IpPermissions`` with ``IpRanges``.
    """
    there = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    has, should = _doors(there), _doors(wanted)
    if new := should - has:
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[_permission(*door) for door in sorted(new)]
        )
    if old := has - should:
        ec2.revoke_security_group_ingress(
            GroupId=group, IpPermissions=[_permission(*door) for door in sorted(old)]
        )


def _doors(permissions: list[dict[str, Any]]) -> set[tuple[str, int, int, str]]:
    return {
        (
            str(rule["IpProtocol"]),
            int(rule.get("FromPort", -1)),
            int(rule.get("ToPort", -1)),
            source["CidrIp"],
        )
        for rule in permissions
        for source in rule.get("IpRanges", [])
    }


def _permission(protocol: str, first: int, last: int, source: str) -> dict[str, Any]:
    return {
        "IpProtocol": protocol,
        "FromPort": first,
        "ToPort": last,
        "IpRanges": [{"CidrIp": source}],
    }
