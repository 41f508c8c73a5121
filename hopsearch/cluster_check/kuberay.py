"""Checks of KubeRay files without KubeRay's schema: the fields at the levels that a cluster file
uses, and their values.

Field names are those of KubeRay 1.6 and 1.7 (``ray.io/v1``) and of Kubernetes' pods;
``tests/test_doctor.py`` compares them with the CRDs themselves if available.
"""

import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any

from hopsearch.cluster_check.file import ClusterFile, Finding, listed, mapping
from hopsearch.core.config import did_you_mean

FIELDS = {
    "object": "apiVersion kind metadata spec status",
    "job": "activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint "
    "entrypointNumCpus"
    " entrypointNumGpus entrypointResources jobId managedBy metadata preRunningDeadlineSeconds "
    "rayClusterSpec"
    " runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate "
    "suspend"
    " ttlSecondsAfterFinished",
    "cluster": "authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions "
    "headGroupSpec"
    " headServiceAnnotations historyServerOptions managedBy networkPolicy rayVersion suspend "
    "tlsOptions"
    " upgradeStrategy workerGroupSpecs",
    "autoscaler": "args command env envFrom idleTimeoutSeconds image imagePullPolicy resources "
    "securityContext upscalingMode"
    " version volumeMounts",
    "auth": "enableK8sTokenAuth mode secretName",
    "head": (
        "enableIngress headService ingressOptions labels rayStartParams resources serviceType "
        "template"
    ),
    "group": "groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts priority "
    "rayStartParams replicas"
    " resources scaleStrategy suspend template",
    "template": "metadata spec",
    "pod": "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig "
    "dnsPolicy enableServiceLinks"
    " ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname "
    "hostnameOverride"
    " imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority "
    "priorityClassName"
    " readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName "
    "schedulingGates"
    " schedulingGroup securityContext serviceAccount serviceAccountName setHostnameAsFQDN "
    "shareProcessNamespace"
    " subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes "
    "workloadRef",
    "container": "args command env envFrom image imagePullPolicy lifecycle livenessProbe name "
    "ports readinessProbe resizePolicy"
    " resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce "
    "terminationMessagePath"
    " terminationMessagePolicy tty volumeDevices volumeMounts workingDir",
}
"""Known field names by level, separated by spaces."""

Part = tuple[str, str, Any]  # level, dotted place, contents


def cluster_of(file: ClusterFile) -> tuple[str, dict[str, Any]]:
    """The place of the Ray cluster's description in the file, and the description."""
    spec = mapping(file.contents.get("spec"))
    if "rayClusterSpec" in spec:
        return "spec.rayClusterSpec", mapping(spec.get("rayClusterSpec"))
    return "spec", spec


def groups_of(file: ClusterFile) -> list[tuple[str, dict[str, Any]]]:
    """The worker groups, each with its place."""
    place, cluster = cluster_of(file)
    groups = [mapping(group) for group in listed(cluster.get("workerGroupSpecs"))]
    return [
        (f"{place}.workerGroupSpecs.{group.get('groupName', number)}", group)
        for number, group in enumerate(groups)
    ]


def shape(file: ClusterFile) -> Iterator[Finding]:
    """Values used in calculations are numbers."""
    for place, group in groups_of(file):
        name = group.get("groupName")
        if name is not None and not isinstance(name, str):
            yield Finding(f"{place}.groupName", f"must be a name, got {name!r}", "Set a name", True)
        for key in ("minReplicas", "replicas", "maxReplicas"):
            value = group.get(key)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or value < 0
            ):
                yield Finding(
                    f"{place}.{key}",
                    f"must be a whole number from 0, got {value!r}",
                    "Set a number",
                    True,
                )
        for name, amount in _amounts(group).items():
            if (name == "cpu" or str(name).endswith("/gpu")) and _cores(str(amount)) is None:
                where = f"{place}.template.spec.containers.0.resources"
                yield Finding(
                    f"{where}.{name}",
                    f"must be an amount such as 4 or 500m, got {amount!r}",
                    "Set a number",
                    True,
                )


def names(file: ClusterFile) -> Iterator[Finding]:
    """The object's name leaves room for what KubeRay adds to it, and is a DNS label (KubeRay's own
    validation, 1.6).
    """
    longest = 47 if file.contents.get("kind") == "RayJob" else 53
    given = str(mapping(file.contents.get("metadata")).get("name", ""))
    if len(given) > longest or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", given):
        rule = (
            f"must consist of lower-case letters, digits and -, start with a letter and have at "
            f"most "
            f"{longest}, got {given!r}"
        )
        yield Finding("metadata.name", rule, "Choose another name, e.g. hopsearch")


def fields(file: ClusterFile) -> Iterator[Finding]:
    """The object's kind is supported, and there are no unknown fields."""
    version = file.contents.get("apiVersion")
    kind = file.contents.get("kind")
    if version != "ray.io/v1":
        yield Finding("apiVersion", f"must be ray.io/v1, got {version}", "Set ray.io/v1")
    if kind not in ("RayJob", "RayCluster"):
        yield Finding(
            "kind",
            f"must be RayJob or RayCluster, got {kind}",
            did_you_mean(str(kind), ("RayJob", "RayCluster")),
        )
    for level, place, contents in _parts(file):
        known = FIELDS[level].split()
        for name in mapping(contents):
            if name not in known:
                yield Finding(
                    f"{place}.{name}".removeprefix("."),
                    "unknown field",
                    did_you_mean(str(name), known),
                )


def _parts(file: ClusterFile) -> Iterator[Part]:
    yield "object", "", file.contents
    if "rayClusterSpec" in mapping(file.contents.get("spec")):
        yield "job", "spec", file.contents.get("spec")
    place, cluster = cluster_of(file)
    yield "cluster", place, cluster
    yield "autoscaler", f"{place}.autoscalerOptions", cluster.get("autoscalerOptions")
    yield "auth", f"{place}.authOptions", cluster.get("authOptions")
    yield "head", f"{place}.headGroupSpec", cluster.get("headGroupSpec")
    for where, group in groups_of(file):
        yield "group", where, group
    for where, template in _templates(file):
        yield "template", where, template
        pod = mapping(template.get("spec"))
        yield "pod", f"{where}.spec", pod
        for container in listed(pod.get("containers")):
            yield (
                "container",
                f"{where}.spec.containers.{mapping(container).get('name')}",
                container,
            )


def _templates(file: ClusterFile) -> Iterator[tuple[str, dict[str, Any]]]:
    place, cluster = cluster_of(file)
    head = mapping(cluster.get("headGroupSpec"))
    for where, group in [(f"{place}.headGroupSpec", head), *groups_of(file)]:
        yield f"{where}.template", mapping(group.get("template"))


def cluster(file: ClusterFile) -> Iterator[Finding]:
    """The cluster uses the newer autoscaler and this project's version of Ray, requires the token,
    and accepts connections.
    """
    place, spec = cluster_of(file)
    here = importlib.metadata.version("ray")
    if str(spec.get("rayVersion")) != here:
        yield Finding(
            f"{place}.rayVersion",
            f"must be {here}, as on this machine, got {spec.get('rayVersion')}",
            "Change one of the two",
        )
    if mapping(spec.get("authOptions")).get("mode") != "token":
        rule = "must be token: otherwise anyone in the cluster's network gets in"
        yield Finding(f"{place}.authOptions.mode", rule, "Set token")
    if not spec.get("enableInTreeAutoscaling"):
        yield Finding(
            f"{place}.enableInTreeAutoscaling",
            "must be true: otherwise machines keep running",
            "Set true",
        )
    version = mapping(spec.get("autoscalerOptions")).get("version")
    if version != "v2":
        yield Finding(
            f"{place}.autoscalerOptions.version",
            f"must be v2, which drains a pod before removing it, got {version}",
            "Set v2",
        )
    params = mapping(mapping(spec.get("headGroupSpec")).get("rayStartParams"))
    if file.contents.get("kind") == "RayJob" and params.get("dashboard-host") in (
        "127.0.0.1",
        "localhost",
        "::1",
    ):
        rule = (
            "must not be loopback: the search is submitted from another pod, which would wait "
            "forever"
        )
        yield Finding(
            f"{place}.headGroupSpec.rayStartParams.dashboard-host",
            rule,
            "Leave it out; the token protects it",
        )
    for where, template in _templates(file):
        for container in listed(mapping(template.get("spec")).get("containers")):
            yield from _image(f"{where}.spec.containers", mapping(container), here)


def _image(place: str, container: dict[str, Any], here: str) -> Iterator[Finding]:
    image = str(container.get("image", ""))
    if re.match(r"([\w-]+\.)*example\.(com|org|net)/", image):
        rule = f"must be your own image, got the example {image}"
        yield Finding(
            f"{place}.{container.get('name')}.image",
            rule,
            "Build one as described at the top of the file",
        )
    tag = re.search(r":([\w][\w.-]*)$", image)
    if "@sha256:" not in image and not (tag and re.match(rf"{re.escape(here)}(?![\d.])", tag[1])):
        rule = f"must be pinned to Ray {here}, by its tag or a digest, got {image or 'none'}"
        yield Finding(
            f"{place}.{container.get('name')}.image",
            rule,
            f"Build it from rayproject/ray:{here}-py311-cu128",
        )


def groups(file: ClusterFile) -> Iterator[Finding]:
    """Worker groups are limited, cost nothing while idle, and some pod has room for a worker of a
    trial.
    """
    named = groups_of(file)
    names = [group.get("groupName") for _, group in named]
    if len(set(names)) < len(names) or None in names:
        yield Finding(
            "spec.workerGroupSpecs",
            f"groups must have distinct names, got {names}",
            "Set groupName",
        )
    for place, group in named:
        least = group.get("minReplicas") or 0
        most = group.get("maxReplicas")
        if not isinstance(most, int):
            rule = "the number of pods must be limited, got no limit"
            yield Finding(f"{place}.maxReplicas", rule, "Set the most you are willing to pay for")
        elif not least <= group.get("replicas", least) <= most:
            rule = (
                f"minReplicas <= replicas <= maxReplicas must hold, got {least}, "
                f"{group.get('replicas', least)}, {most}"
            )
            yield Finding(f"{place}.replicas", rule, "Set replicas: 0")
        if least > 0:
            yield Finding(
                f"{place}.minReplicas",
                f"must be 0, got {least}: it costs money while idle",
                "Set 0",
            )
        pod = mapping(mapping(group.get("template")).get("spec"))
        if pod.get("restartPolicy") != "Never":
            yield Finding(
                f"{place}.template.spec.restartPolicy",
                f"must be Never, got {pod.get('restartPolicy')}",
                "Set Never",
            )
        yield from _promises(place, group)
    cpus, gpus = file.trial
    sizes = {str(group.get("groupName")): _size(group) for _, group in named}
    if sizes and not any(there[0] >= cpus and there[1] >= gpus for there in sizes.values()):
        most = "; ".join(
            f"{name}: CPU {there[0]:g}, GPU {there[1]:g}" for name, there in sizes.items()
        )
        rule = f"some pod must have room for a worker of {cpus:g} CPU and {gpus:g} GPU, got {most}"
        yield Finding(
            "spec.workerGroupSpecs", rule, "Lower trial.cpus or trial.gpus, or define larger pods"
        )


def _promises(place: str, group: dict[str, Any]) -> Iterator[Finding]:
    params = mapping(group.get("rayStartParams"))
    size = _size(group)
    for key, most in (("num-cpus", size[0]), ("num-gpus", size[1])):
        given = _cores(str(params.get(key, 0)))
        if given is not None and given > most:
            rule = f"must be at most the container's {most:g}, got {params[key]}"
            yield Finding(
                f"{place}.rayStartParams.{key}",
                rule,
                "Leave it out: KubeRay reads it from the container",
            )


def _amounts(group: dict[str, Any]) -> dict[str, Any]:
    # KubeRay passes the first container's limits to Ray, or its requests if there are none.
    pod = mapping(mapping(group.get("template")).get("spec"))
    first = mapping(next(iter(listed(pod.get("containers"))), None))
    given = mapping(first.get("resources"))
    return mapping(given.get("requests")) | mapping(given.get("limits"))


def _size(group: dict[str, Any]) -> tuple[float, float]:
    amounts = _amounts(group)
    gpus = sum(
        _cores(str(count)) or 0.0 for name, count in amounts.items() if str(name).endswith("/gpu")
    )
    return _cores(str(amounts.get("cpu", 0))) or 0.0, gpus


def _cores(amount: str) -> float | None:
    milli = amount.endswith("m")
    try:
        value = float(amount.removesuffix("m"))
    except ValueError:
        return None
    if value < 0:
        return None
    return value / 1000 if milli else value
