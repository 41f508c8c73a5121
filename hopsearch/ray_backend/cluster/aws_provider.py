"""An AWS node provider with fallbacks for node types and a security group that matches the cluster
file.

If a type has no capacity, the next one is requested in the same call; Ray 2.60's autoscalers
request the refused type repeatedly instead. Named in ``cluster/aws.yaml`` as ``provider.module``; a
node type's ``node_config`` lists alternatives under ``Fallbacks``, each a partial node config that
overrides the type's own. ``InstanceMarketOptions: null`` requests an on-demand machine.

Ray opens SSH to the whole internet in every security group it creates, whatever else the file says,
and never updates a group that has rules. Here the allowed addresses are set from the file at every
``ray up``.
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
"""EC2 error codes that another type, market or zone may avoid."""


class SpotPool(AWSNodeProvider):  # type: ignore[misc]  # Ray has no types
    """Ray's AWS provider with fallbacks and restricted ingress."""

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Ray's own preparation of a cluster, then synchronise its security groups with the
        file.
        """
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
    """Allow ingress from the wanted addresses only; rules between the group's own machines are
    kept.

    Args:
        ec2: a boto3 client.
        group: id of a security group.
        wanted: ``IpPermissions`` with ``IpRanges``.
    """
    there = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    has = _doors(there)
    should = _doors(wanted)
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
