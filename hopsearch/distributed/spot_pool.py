"""An AWS node provider whose node types have fallbacks: where one has no capacity, the next is asked for in the same call.

Ray 2.60's autoscalers ask for the refused type again and again instead. Named in ``cluster/aws.yaml`` as ``provider.module``; a
node type's ``node_config`` lists what to try after itself under ``Fallbacks``, each a part of a node config that overrules the
type's own. ``InstanceMarketOptions: null`` asks for an on-demand machine.
"""

import copy
from typing import Any

from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException

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
    """Ray's AWS provider with fallbacks."""

    def _create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any:
        choices = chain(node_config)
        for place, choice in enumerate(choices):
            try:
                return super()._create_node(choice, dict(tags), count)
            except NodeLaunchException as error:
                if error.category not in CAPACITY or place == len(choices) - 1:
                    raise
                # The autoscaler's log is what `ray monitor` shows.
                print(f"spot pool: no {describe(choice)} ({error.category}), trying {describe(choices[place + 1])}", flush=True)
        raise AssertionError("a node type is at least itself")


def chain(node_config: dict[str, Any]) -> list[dict[str, Any]]:
    """The node configs to try, in order: the type's own, then each fallback laid over it."""
    own = copy.deepcopy(node_config)
    fallbacks = own.pop("Fallbacks", [])
    choices = [own, *({**own, **fallback} for fallback in fallbacks)]
    return [{key: value for key, value in choice.items() if value is not None} for choice in choices]


def describe(choice: dict[str, Any]) -> str:
    """Type and market in words."""
    market = (choice.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand")
    return f"{choice.get('InstanceType', 'machine')} ({market})"
