"""The cluster files, checked offline: the shipped ones are sound, planted mistakes are found."""

import datetime
import functools
import http.server
import importlib.util
import json
import os
import re
import threading
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from hopsearch import doctor
from hopsearch.cluster_check import cloud_apis, kuberay
from hopsearch.cluster_check.checks import examine
from hopsearch.cluster_check.file import PROVIDER, ClusterFile, read_cluster_file
from hopsearch.cluster_check.prices import most_per_hour
from hopsearch.command_line.command import DONE, MISTAKE, run_verb
from hopsearch.core.errors import ConfigError
from hopsearch.ray_backend.cluster.aws_provider import set_doors
from hopsearch.ray_backend.cluster.fallbacks import chain, describe
from tests.clusterfiles import (
    CLUSTER,
    CONTAINER,
    EDITS,
    GROUP,
    ROOT,
    contents_of,
    edited,
    examined,
    put,
)

pytestmark = pytest.mark.usefixtures("at_home")
FILES = sorted(CLUSTER.glob("*.yaml"))


@pytest.mark.parametrize("name", EDITS)
def test_a_shipped_file_is_sound_once_it_is_edited(name, tmp_path, capsys):
    path = tmp_path / f"{name}.yaml"
    path.write_text(edited(name))
    assert run_verb(doctor.main, doctor.DoctorConfig, "about", [str(path)]) == DONE
    assert "no problems found (offline checks)" in capsys.readouterr().out
    assert {file.stem for file in FILES} == set(EDITS)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("aws", "must be your own address, got the example 203.0.113.7/32"),
        ("gcp", "must be your own project, got my-project"),
        ("local", "must be one of your machines, got the example 192.0.2.10"),
        (
            "kuberay",
            "must be your own image, got the example registry.example.com/hopsearch:2.60.0",
        ),
    ],
)
def test_what_is_still_the_examples(name, rule, capsys):
    assert (
        run_verb(doctor.main, doctor.DoctorConfig, "about", [str(CLUSTER / f"{name}.yaml")])
        == MISTAKE
    )
    assert rule in capsys.readouterr().err


WORLD = [{"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
NIGHTLY = "pip install https://example.com/ray-3.0.0.dev0-cp311-cp311-manylinux2014_x86_64.whl"
OPEN = "ray start --head --autoscaling-config=~/ray_bootstrap_config.yaml --dashboard-host=0.0.0.0"


@pytest.mark.parametrize(
    ("name", "change", "place", "rule"),
    [
        ("aws", put("max_worker", 8), "max_worker", "unknown field. Did you mean max_workers?"),
        (
            "aws",
            put("available_node_types/gpu-spot/prioriti", 1),
            "prioriti",
            "Did you mean priority?",
        ),
        ("aws", put("head_node_type", "haed"), "head_node_type", "Did you mean head?"),
        ("aws", put("max_workers", None), "max_workers", "must be limited"),
        (
            "aws",
            put("available_node_types/gpu-spot/min_workers", 2),
            "min_workers",
            "costs money while idle",
        ),
        ("aws", put("provider/cache_stopped_nodes", True), "cache_stopped_nodes", "must be false"),
        (
            "aws",
            put("provider/security_group/IpPermissions", WORLD),
            "security_group",
            "port 22 must not be open to 0.0.0.0/0",
        ),
        ("aws", put("provider/security_group", None), "security_group", "must restrict SSH"),
        ("aws", put("provider/type", "aws"), "provider.type", "opens SSH to anyone"),
        (
            "aws",
            put("head_start_ray_commands", [OPEN]),
            "head_start_ray_commands",
            "must listen on loopback",
        ),
        (
            "aws",
            put("file_mounts", {"/home/ubuntu/x": "./tests"}),
            "file_mounts",
            "the token must be copied",
        ),
        ("local", put("setup_commands", []), "setup_commands", "must set RAY_AUTH_MODE=token"),
        (
            "gcp",
            put("head_setup_commands", [NIGHTLY]),
            "head_setup_commands",
            "a released version of Ray must be installed",
        ),
        (
            "aws",
            put("available_node_types/head/node_config/ImageId", "ubuntu-18.04"),
            "ImageId",
            "supported system",
        ),
        (
            "aws",
            put("available_node_types/head/node_config/MetadataOptions", {}),
            "MetadataOptions",
            "IMDSv2 must be required",
        ),
        (
            "aws",
            put("available_node_types/head/node_config/IamInstanceProfile", None),
            "IamInstanceProfile",
            "must name a profile",
        ),
        (
            "aws",
            put("available_node_types/head/node_config/InstanceMarketOptions", {}),
            "head",
            "must not be a spot machine",
        ),
        ("kuberay", put("spec/rayClusterSpec/authOptions", None), "authOptions", "must be token"),
        (
            "kuberay",
            put("spec/rayClusterSpec/rayVersion", "2.9.0"),
            "rayVersion",
            "as on this machine, got 2.9.0",
        ),
        (
            "kuberay",
            put("apiVersion", "ray.io/v1alpha1"),
            "apiVersion",
            "must be ray.io/v1, got ray.io/v1alpha1",
        ),
        ("kuberay", put("kind", "RayJop"), "kind", "Did you mean RayJob?"),
        (
            "kuberay",
            put("spec/entrypont", "x"),
            "spec.entrypont",
            "unknown field. Did you mean entrypoint?",
        ),
        (
            "kuberay",
            put("spec/rayClusterSpec/autoscalerOption", {}),
            "autoscalerOption",
            "Did you mean autoscalerOptions?",
        ),
        (
            "kuberay",
            put("spec/rayClusterSpec/autoscalerOptions/version", "v1"),
            "autoscalerOptions.version",
            "must be v2",
        ),
        (
            "kuberay",
            put("spec/rayClusterSpec/autoscalerOptions/idleTimeout", 5),
            "idleTimeout",
            "mean idleTimeoutSeconds?",
        ),
        (
            "kuberay",
            put("spec/rayClusterSpec/headGroupSpec/rayStartParam", {}),
            "rayStartParam",
            "Did you mean rayStartParams?",
        ),
        (
            "kuberay",
            put(f"{GROUP}/maxReplica", 8),
            "gpu-spot.maxReplica",
            "Did you mean maxReplicas?",
        ),
        ("kuberay", put(f"{GROUP}/maxReplicas", None), "maxReplicas", "must be limited"),
        (
            "kuberay",
            put(f"{GROUP}/replicas", 9),
            "replicas",
            "replicas <= maxReplicas must hold, got 0, 9, 8",
        ),
        (
            "kuberay",
            put(f"{GROUP}/template/spec/tolerations_", []),
            "tolerations_",
            "Did you mean tolerations?",
        ),
        (
            "kuberay",
            put(f"{GROUP}/template/spec/restartPolicy", "Always"),
            "restartPolicy",
            "must be Never, got Always",
        ),
        (
            "kuberay",
            put(f"{CONTAINER}/imagePolicy", "x"),
            "ray-worker.imagePolicy",
            "Did you mean imagePullPolicy?",
        ),
        (
            "kuberay",
            put(f"{CONTAINER}/image", "rayproject/ray:latest"),
            "ray-worker.image",
            "pinned to Ray",
        ),
        (
            "kuberay",
            put(f"{CONTAINER}/resources/limits/nvidia.com~gpu", "0"),
            "workerGroupSpecs",
            "gpu-spot: CPU 4, GPU 0",
        ),
        (
            "kuberay",
            put("spec/rayClusterSpec/headGroupSpec/rayStartParams/dashboard-host", "127.0.0.1"),
            "dashboard-host",
            "would wait forever",
        ),
    ],
)
def test_a_planted_mistake_is_found(name, change, place, rule):
    contents = contents_of(name)
    change(contents)
    found = [each for each in examined(contents) if not each.rule.startswith("Ray refuses it")]
    assert place in found[0].place
    assert rule in str(found[0])
    assert len(found) == 1 or (
        name == "kuberay" and all("image" in each.place for each in found)
    ), [*map(str, found)]


def node(name, value=None, group="gpu-spot"):
    return put(f"available_node_types/{group}/node_config/{name}", value)


@pytest.mark.parametrize(
    ("change", "place", "rule"),
    [
        (
            node("ImageID", "ami-1"),
            "ImageID",
            "unknown parameter of EC2's RunInstances. Did you mean ImageId?",
        ),
        (
            node("InstanceType", "g6.xlargest"),
            "InstanceType",
            "values, got 'g6.xlargest'. Did you mean g6.xlarge?",
        ),
        (
            node("InstanceMarketOptions/MarketType", "spott"),
            "MarketType",
            "got 'spott'. Did you mean spot?",
        ),
        (
            node("InstanceMarketOptions/SpotOptions/Interruption", "stop"),
            "SpotOptions.Interruption",
            "unknown parameter",
        ),
        (node("EbsOptimized", "yes"), "EbsOptimized", "must be a boolean, got 'yes'"),
        (node("SecurityGroupIds", "sg-1"), "SecurityGroupIds", "must be a list, got 'sg-1'"),
        (node("CreditSpecification", {}), "CreditSpecification.CpuCredits", "is required"),
        (
            node("Fallbacks/0/InstanceType", "g5.small"),
            "gpu-spot.node_config.InstanceType",
            "got 'g5.small'",
        ),
        (node("Fallbacks/0/Spot", True), "gpu-spot.node_config.Spot", "unknown parameter"),
        (
            put("provider", {"type": "aws", "cache_stopped_nodes": False}),
            "Fallbacks",
            "unknown parameter",
        ),
    ],
)
def test_what_amazon_would_refuse(change, place, rule):
    pytest.importorskip("botocore")
    contents = contents_of("aws")
    change(contents)
    found = list(cloud_apis.amazon(ClusterFile(CLUSTER / "mistake.yaml", contents)))
    assert place in found[0].place
    assert rule in str(found[0])
    assert len({finding.place.rpartition(".")[2] for finding in found}) == 1


@pytest.mark.parametrize(
    ("change", "place", "rule"),
    [
        (
            node("machinetype", "x", "gpu-l4"),
            "machinetype",
            "of Compute Engine's Instance. Did you mean machineType?",
        ),
        (
            node("scheduling/provisioningModel", "SPOTTY", "gpu-l4"),
            "provisioningModel",
            "Did you mean SPOT?",
        ),
        (
            node("disks/0/initializeParams/diskSize", 9, "gpu-l4"),
            "disks.0.initializeParams.diskSize",
            "mean diskSizeGb?",
        ),
        (
            node("scheduling/automaticRestart", "no", "gpu-l4"),
            "automaticRestart",
            "'no' is not of type 'boolean'",
        ),
    ],
)
def test_what_google_would_refuse(change, place, rule):
    pytest.importorskip("googleapiclient")
    contents = contents_of("gcp")
    change(contents)
    (found,) = cloud_apis.google(ClusterFile(CLUSTER / "mistake.yaml", contents))
    assert place in found.place
    assert rule in str(found)


def test_a_tpu_has_another_api():
    contents = {
        "available_node_types": {
            "tpu": {"node_config": {"acceleratorType": "v4-8", "runtimeVersion": "tpu-vm-v4-base"}}
        }
    }
    assert not list(cloud_apis.google(ClusterFile(CLUSTER / "tpu.yaml", contents)))


CRDS = os.environ.get("HOPSEARCH_KUBERAY_CRDS", "")


@pytest.mark.skipif(
    not CRDS,
    reason="HOPSEARCH_KUBERAY_CRDS must name a folder with KubeRay's ray.io_rayjobs.yaml; not "
    "packaged anywhere",
)
class TestKubeRaysOwnSchema:
    """Against ``helm-chart/kuberay-operator/crds`` of a KubeRay release,
    https://github.com/ray-project/kuberay.
    """

    @staticmethod
    @functools.cache
    def schema():
        text = (Path(CRDS) / "ray.io_rayjobs.yaml").read_text()
        crd = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        (version,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {}  # Kubernetes' own, not in the CRD
        return schema

    def test_it_accepts_the_shipped_file(self):
        schema = self.schema()
        contents = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
        jsonschema.Draft7Validator(schema).validate(contents)

    def test_it_refuses_a_mistake(self):
        schema = self.schema()
        contents = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
        contents["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 3
        (error,) = jsonschema.Draft7Validator(schema).iter_errors(contents)
        assert "maxReplica" in error.message

    def test_our_field_names_are_its_own(self):
        schema = self.schema()
        job = schema["properties"]["spec"]["properties"]
        cluster = job["rayClusterSpec"]["properties"]
        group = cluster["workerGroupSpecs"]["items"]["properties"]
        pod = group["template"]["properties"]["spec"]["properties"]
        theirs = {
            "object": schema["properties"],
            "job": job,
            "cluster": cluster,
            "autoscaler": cluster["autoscalerOptions"]["properties"],
            "auth": cluster["authOptions"]["properties"],
            "head": cluster["headGroupSpec"]["properties"],
            "group": group,
            "template": group["template"]["properties"],
            "pod": pod,
            "container": pod["containers"]["items"]["properties"],
        }
        for level, names in kuberay.FIELDS.items():
            assert not theirs[level].keys() - set(names.split()), (
                f"{level}: a release brought new fields"
            )
        used = {"job", "cluster", "autoscaler", "auth", "head", "group", "template"}
        surplus = {
            f"{level}.{name}"
            for level in used
            for name in set(kuberay.FIELDS[level].split()) - theirs[level].keys()
        }
        assert surplus <= {
            f"cluster.{name}" for name in ("historyServerOptions", "networkPolicy", "tlsOptions")
        } | {
            "autoscaler.args",
            "autoscaler.command",
            "group.priority",
            "head.ingressOptions",
        }  # what 1.7 has beyond 1.6


def strict(schema):
    """An openAPIV3Schema that refuses unknown fields, as ``kubectl apply --validate=strict``
    does.
    """
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(part) for key, part in schema.items()}
    if isinstance(made.get("properties"), dict) and not made.get(
        "x-kubernetes-preserve-unknown-fields"
    ):
        made.setdefault("additionalProperties", False)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def test_versions_that_differ(tmp_path):
    contents = contents_of("local")
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "requirements.txt").write_text("ray[default]==2.9.0\nnumpy==1.0\n")
    (found,) = examine(ClusterFile(tmp_path / "local.yaml", contents))
    assert "got ray 2.9.0 there" in found.rule


def test_trials_that_no_machine_holds(capsys):
    words = [str(CLUSTER / "aws.yaml"), "trial.gpus=4"]
    assert run_verb(doctor.main, doctor.DoctorConfig, "about", words) == MISTAKE
    error = capsys.readouterr().err
    assert (
        "some machine must have room for a worker of 1 CPU and 4 GPU, got gpu-spot: CPU 4, GPU 1; "
        "gpu-large-spot: CPU 16, GPU 1" in error
    )
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be readable"),
        ("a: [1", "must be YAML"),
        ("- a", "must be a mapping"),
        ("provider: {type: awz}", "Did you mean aws?"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, message, capsys):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    assert run_verb(doctor.main, doctor.DoctorConfig, "about", [str(path)]) == MISTAKE
    assert message in capsys.readouterr().err


def test_the_most_an_hour_costs():
    total, unknown = most_per_hour(read_cluster_file(CLUSTER / "aws.yaml", (1, 1)))
    assert unknown == []
    assert total == pytest.approx(0.2016 + 2 * 1.624 + 6 * 1.006)


class TestSpotPool:
    def test_fallbacks_in_order(self):
        contents = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
        choices = chain(contents["available_node_types"]["gpu-spot"]["node_config"])
        assert [describe(choice) for choice in choices] == [
            "g6.xlarge (spot)",
            "g5.xlarge (spot)",
            "g4dn.xlarge (spot)",
            "g6.xlarge (on-demand)",
        ]
        assert all("Fallbacks" not in choice for choice in choices)
        assert len({choice["ImageId"] for choice in choices}) == 1

    def test_the_next_is_asked_for_without_capacity(self, monkeypatch, capsys):
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
        from ray.autoscaler.node_launch_exception import NodeLaunchException

        from hopsearch.ray_backend.cluster.aws_provider import SpotPool

        asked = []

        def create(self, config, tags, count):
            asked.append(describe(config))
            if config["InstanceType"] != "c":
                raise NodeLaunchException(
                    "InsufficientInstanceCapacity"
                    if config["InstanceType"] != "x"
                    else "AuthFailure",
                    "",
                    None,
                )
            return "made"

        monkeypatch.setattr(AWSNodeProvider, "_create_node", create)
        pool = object.__new__(SpotPool)
        config = {"InstanceType": "a", "Fallbacks": [{"InstanceType": "b"}, {"InstanceType": "c"}]}
        assert pool._create_node(config, {}, 1) == "made"
        assert asked == ["a (on-demand)", "b (on-demand)", "c (on-demand)"]
        assert (
            "spot pool: no a (on-demand) (InsufficientInstanceCapacity), trying b (on-demand)"
            in capsys.readouterr().out
        )
        with pytest.raises(NodeLaunchException):  # another fault is not mended by another type
            pool._create_node({"InstanceType": "x", "Fallbacks": [{"InstanceType": "c"}]}, {}, 1)


@pytest.fixture
def watcher():
    spec = importlib.util.spec_from_file_location(
        "spot_watcher", CLUSTER / "node" / "spot_watcher.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def metadata():
    """A cloud's metadata service on loopback; yields its address and what it says by path."""
    says = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            allowed = (
                self.headers.get("X-aws-ec2-metadata-token") == "tok"
                or self.headers.get("Metadata-Flavor") == "Google"
            )
            text = says.get(self.path) if allowed else None
            self.send_response(200 if text else 404)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def do_PUT(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"tok")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", says
    server.shutdown()
    server.server_close()


class TestSpotWatcher:
    def test_amazon(self, watcher, metadata):
        address, says = metadata
        assert watcher.seconds_left("aws", address) is None
        says["/latest/meta-data/spot/instance-action"] = json.dumps(
            {"action": "terminate", "time": "2026-01-01T12:02:00Z"}
        )
        now = datetime.datetime(2026, 1, 1, 12, 0, 5, tzinfo=datetime.UTC)
        assert watcher.seconds_left("aws", address, now) == 115

    def test_google(self, watcher, metadata):
        address, says = metadata
        says["/computeMetadata/v1/instance/preempted"] = "FALSE"
        assert watcher.seconds_left("gcp", address) is None
        says["/computeMetadata/v1/instance/preempted"] = "TRUE"
        assert watcher.seconds_left("gcp", address) == 30

    def test_no_metadata_service(self, watcher):
        assert watcher.seconds_left("aws", "http://127.0.0.1:9") is None


def test_machines_install_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {re.match(r"[\w-]+", line)[0] for line in project}
    lines = (CLUSTER / "node" / "requirements.txt").read_text().splitlines()
    pinned = {found[0] for line in lines if (found := re.match(r"[\w-]+", line))}
    # no more either: nothing that is not used
    assert pinned - {"boto3", "google-api-python-client", "google-auth"} == needed


class Group:
    """An EC2 client with one security group, as Ray leaves it."""

    def __init__(self):
        self.rules = [
            {
                "IpProtocol": "-1",
                "FromPort": -1,
                "ToPort": -1,
                "UserIdGroupPairs": [{"GroupId": "g"}],
            },
            *WORLD,
        ]
        self.asked = 0

    def describe_security_groups(self, GroupIds):
        return {"SecurityGroups": [{"GroupId": GroupIds[0], "IpPermissions": self.rules}]}

    def authorize_security_group_ingress(self, GroupId, IpPermissions):
        self.asked += 1
        self.rules = self.rules + IpPermissions

    def revoke_security_group_ingress(self, GroupId, IpPermissions):
        self.asked += 1
        self.rules = [rule for rule in self.rules if rule not in IpPermissions]


def test_a_security_group_is_made_equal_to_the_file():
    group, mine = Group(), [{**WORLD[0], "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}]
    set_doors(group, "g", mine)
    assert group.rules[1:] == mine
    assert group.rules[0]["UserIdGroupPairs"]  # the machines among themselves
    set_doors(group, "g", mine)
    assert group.asked == 2, "a group that is right is left alone"


def test_a_providers_old_name(tmp_path):
    text = (CLUSTER / "aws.yaml").read_text()
    assert PROVIDER in text
    (tmp_path / "aws.yaml").write_text(
        text.replace(PROVIDER, "hopsearch.distributed.spot_pool.SpotPool")
    )
    with pytest.raises(
        ConfigError,
        match=rf"provider.module: must be {PROVIDER}, got its old name hopsearch.distributed",
    ):
        read_cluster_file(tmp_path / "aws.yaml", (1, 1))
