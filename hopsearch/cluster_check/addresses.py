"""Checks names, zones and addresses of a cluster file: against the clouds' rules, and for unchanged
example values.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

from hopsearch.cluster_check.file import ClusterFile, Finding

_EXAMPLES = [
    ipaddress.ip_network(each)
    for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
# Google's machines are named ray-<cluster>-<head or worker>-<8 characters>-<kind>; Ray stops if the
# first three exceed 55.
_GOOGLE_LONGEST = 55 - len("ray--worker")


def name(file: ClusterFile) -> Iterator[Finding]:
    """The cluster's name is valid for machines, security groups, labels and lock files."""
    given = str(file.contents.get("cluster_name", ""))
    good: object
    if file.kind == "gcp":
        rule = (
            f"must consist of lower-case letters, digits and -, start with a letter and have at "
            f"most "
            f"{_GOOGLE_LONGEST} of them"
        )
        good = re.fullmatch(
            rf"[a-z][-a-z0-9]{{0,{_GOOGLE_LONGEST - 1}}}", given
        ) and not given.endswith("-")
    elif file.kind == "aws":
        longest = 255 - len("ray-autoscaler-")  # the security group's name
        rule = (
            f"must consist of letters, digits, spaces and ._-:/()#,@[]+=&;{{}}!$*, at most "
            f"{longest} "
            f"of them"
        )
        good = (
            re.fullmatch(rf"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{{}}!$*]{{1,{longest}}}", given)
            and given == given.strip()
        )
    else:
        rule = "must consist of letters, digits and ._-, since Ray uses it as a file name"
        good = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", given)
    if not good:
        yield Finding(
            "cluster_name", f"{rule}, got {given!r}", "Choose another name, e.g. hopsearch"
        )


def zones(file: ClusterFile) -> Iterator[Finding]:
    """A region is set, and the zones belong to it."""
    provider = file.contents["provider"]
    region = provider.get("region")
    given = provider.get("availability_zone")
    if not region:
        yield Finding(
            "provider.region",
            "is required",
            "Set e.g. us-west-2" if file.kind == "aws" else "Set e.g. us-central1",
        )
        return
    if file.kind == "gcp" and not given:
        yield Finding("provider.availability_zone", "is required", f"Set e.g. {region}-a")
    names = [zone.strip() for zone in str(given or "").split(",") if zone.strip()]
    for zone in names:
        rest = zone.removeprefix(str(region))
        fits = (
            re.fullmatch(r"-[a-z]", rest)
            if file.kind == "gcp"
            else re.fullmatch(r"[a-z]|-[a-z0-9-]+[a-z]", rest)
        )
        if rest == zone or not fits:
            example = f"{region}-a" if file.kind == "gcp" else f"{region}a"
            yield Finding(
                "provider.availability_zone",
                f"must be in {region}, got {zone}",
                f"Set e.g. {example}",
            )
    if file.kind == "gcp" and len(names) > 1:
        yield Finding(
            "provider.availability_zone", f"must be one zone, got {given}", f"Set {names[0]}"
        )
    if file.kind == "gcp" and provider.get("project_id") in (None, "", "my-project"):
        rule = f"must be your own project, got {provider.get('project_id') or 'none'}"
        yield Finding("provider.project_id", rule, "Set your project's id")


def machines(file: ClusterFile) -> Iterator[Finding]:
    """On-premises machines: each listed once, the head not among the workers, and the limit covers
    all.
    """
    provider = file.contents["provider"]
    head = provider.get("head_ip")
    workers = provider.get("worker_ips")
    if not head or not isinstance(workers, list):
        return  # Ray refuses it, or a coordinator assigns the machines
    if head in workers:
        yield Finding(
            "provider.worker_ips",
            f"must not include the head, got {head} in both",
            "Remove it from the workers",
        )
    for address, count in Counter(map(str, workers)).items():
        if count > 1:
            yield Finding(
                "provider.worker_ips",
                f"must list each machine once, got {address} {count} times",
                "Drop one",
            )
    most = file.contents.get("max_workers")
    if isinstance(most, int) and most < len(workers):
        rule = (
            f"must be at least the {len(workers)} worker_ips, got {most}: the others could never "
            f"join"
        )
        yield Finding("max_workers", rule, "Leave it out, or raise it")
    least = file.contents.get("min_workers")
    if isinstance(least, int) and least > len(workers):
        yield Finding(
            "min_workers",
            f"must be at most the {len(workers)} worker_ips, got {least}",
            "Leave it out",
        )
    for place, address in [
        ("provider.head_ip", head),
        *(("provider.worker_ips", each) for each in workers),
    ]:
        if _is_example(address):
            yield Finding(
                place,
                f"must be one of your machines, got the example {address}",
                "Set its address or host name",
            )
        elif re.fullmatch(r"[\d.]+", str(address)) and _network(address) is None:
            yield Finding(
                place, f"must be an address, got {address}", "Set its address or host name"
            )


def visitors(file: ClusterFile) -> Iterator[Finding]:
    """SSH is open to a real address, not the example's."""
    group = file.contents["provider"].get("security_group") or {}
    for rule in group.get("IpPermissions") or []:
        for source in rule.get("IpRanges", []):
            given = source.get("CidrIp")
            place = "provider.security_group.IpPermissions"
            if _is_example(given):
                yield Finding(
                    place,
                    f"must be your own address, got the example {given}: no one could log in",
                    "Set …/32",
                )
            elif given is not None and _network(given) is None:
                yield Finding(
                    place,
                    f"CidrIp must be an address range such as 198.18.0.1/32, got {given!r}",
                    "Correct it",
                )


def _network(address: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(str(address), strict=False)
    except ValueError:
        return None


def _is_example(address: object) -> bool:
    network = _network(address)
    return network is not None and any(
        network.version == example.version and network.subnet_of(example)  # type: ignore[arg-type]  # the versions are equal
        for example in _EXAMPLES
    )
