"""The alternatives of a node type of ``aws_provider``: its own node config, then each of its
fallbacks.
"""

import copy
from typing import Any


def chain(node_config: dict[str, Any]) -> list[dict[str, Any]]:
    """The node configs to try, in order: the type's own, then each fallback merged into it."""
    own = copy.deepcopy(node_config)
    fallbacks = own.pop("Fallbacks", None) or []
    choices = [own, *({**own, **fallback} for fallback in fallbacks)]
    return [
        {key: value for key, value in choice.items() if value is not None} for choice in choices
    ]


def describe(choice: dict[str, Any]) -> str:
    """Type and market in words."""
    market = (choice.get("InstanceMarketOptions") or {}).get("MarketType", "on-demand")
    return f"{choice.get('InstanceType', 'machine')} ({market})"
