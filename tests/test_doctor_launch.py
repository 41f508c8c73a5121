"""Cluster files that Ray refuses, or that would start a head which nobody can use: found
offline.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES
from ray.autoscaler._private.util import prepare_config

from hopsearch import doctor
from hopsearch.cluster_check.machine_types import MachineType, amazon_type, google_type
from hopsearch.command_line.command import DONE, MISTAKE, run_verb
from hopsearch.core.errors import ConfigError
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
TYPES = "available_node_types"
START = "head_start_ray_commands"
JOIN = "worker_start_ray_commands"
V2_OFF = "RAY_enable_autoscaler_v2=0 "


@pytest.mark.parametrize(
    ("name", "change", "place", "rule"),
    [
        (
            "aws",
            put("auth/ssh_private_key", "~/.ssh/id_ed25519"),
            "KeyName",
            "the machine does not know the key",
        ),
        ("aws", put("docker", {"container_name": "ray"}), "docker.image", "is required"),
        (
            "aws",
            put("docker", {"image": "rayproject/ray:2.60.0"}),
            "docker.container_name",
            "is required",
        ),
        (
            "aws",
            put("docker", {"container_name": "r", "run_options": ["--shm-size=8g"]}),
            "docker.image",
            "is required",
        ),
        (
            "aws",
            put("file_mounts/~x", "./no-such-folder"),
            "file_mounts./x",
            "relative to the current folder, got ./no-such",
        ),
        ("aws", put("cluster_name", "mixers|new"), "cluster_name", "got 'mixers|new'"),
        ("aws", put("cluster_name", "m" * 250), "cluster_name", "at most 240"),
        (
            "gcp",
            put("cluster_name", "My_Mixers"),
            "cluster_name",
            "must consist of lower-case letters",
        ),
        ("gcp", put("cluster_name", "m" * 60), "cluster_name", "at most 44"),
        ("local", put("cluster_name", "a/b"), "cluster_name", "as a file name"),
        ("kuberay", put("metadata/name", "Mixers"), "metadata.name", "got 'Mixers'"),
        ("kuberay", put("metadata/name", "m" * 48), "metadata.name", "at most 47"),
        (
            "aws",
            put("provider/availability_zone", "us-east-1a,us-west-2b"),
            "availability_zone",
            "must be in us-west-2, got us-east-1a",
        ),
        (
            "aws",
            put("provider/availability_zone", "us-west-2"),
            "availability_zone",
            "got us-west-2. Set e.g. us-west-2a",
        ),
        ("aws", put("provider/region", None), "provider.region", "is required"),
        (
            "gcp",
            put("provider/availability_zone", "europe-west4-a"),
            "availability_zone",
            "must be in us-central1, got europe-west4-a",
        ),
        (
            "gcp",
            put("provider/availability_zone", "us-central1-a,us-central1-b"),
            "availability_zone",
            "must be one zone",
        ),
        (
            "gcp",
            put("auth/ssh_private_key", "~/.ssh/none.pem"),
            "auth.ssh_private_key",
            "got ~/.ssh/none.pem, which does not exist",
        ),
        (
            "local",
            put("auth/ssh_private_key", "~/.ssh/none.pem"),
            "auth.ssh_private_key",
            "got ~/.ssh/none.pem, which does not exist",
        ),
        ("local", put("max_workers", 1), "max_workers", "must be at least the 2 worker_ips, got 1"),
        ("local", put("min_workers", 3), "min_workers", "must be at most the 2 worker_ips, got 3"),
        (
            "local",
            put("provider/worker_ips", ["198.18.0.10", "198.18.0.11"]),
            "worker_ips",
            "must not include the head",
        ),
        (
            "local",
            put("provider/worker_ips", ["198.18.0.11"] * 2),
            "worker_ips",
            "got 198.18.0.11 2 times",
        ),
        (
            "local",
            put("provider/worker_ips", ["198.18.0.511"]),
            "worker_ips",
            "must be an address, got 198.18.0.511",
        ),
        ("local", put("provider/head_ip", None), "the file", "Please supply a `head_ip`"),
        (
            "aws",
            put(f"{TYPES}/gpu-spot/resources/GPU", 4),
            "gpu-spot.resources.GPU",
            "what a g4dn.xlarge has, 1, got 4",
        ),
        (
            "aws",
            put(f"{TYPES}/gpu-large-spot/resources/CPU", 32),
            "gpu-large-spot.resources.CPU",
            "what a g5.4xlarge has, 16, got 32",
        ),
        (
            "aws",
            put(f"{TYPES}/head/resources/GPU", 1),
            "head.resources.GPU",
            "what a m7i.xlarge has, 0, got 1",
        ),
        (
            "gcp",
            put(f"{TYPES}/gpu-l4/resources/GPU", 2),
            "gpu-l4.resources.GPU",
            "what a g2-standard-4 has, 1, got 2",
        ),
        (
            "gcp",
            put(f"{TYPES}/gpu-l4/resources/CPU", 8),
            "gpu-l4.resources.CPU",
            "what a g2-standard-4 has, 4, got 8",
        ),
        (
            "kuberay",
            put(f"{GROUP}/rayStartParams/num-gpus", "8"),
            "rayStartParams.num-gpus",
            "the container's 1, got 8",
        ),
        (
            "aws",
            put(START, ["ray stop", "ray start --head --port=6379"]),
            START,
            "otherwise no worker is ever started",
        ),
        ("aws", put(START, ["ray stop"]), START, "must start Ray with ray start --head"),
        ("aws", put(JOIN, ["ray stop"]), JOIN, "must join the head"),
        (
            "aws",
            put(JOIN, ["ray start --address=$RAY_HEAD_IP:6380"]),
            JOIN,
            "got 6379 there and 6380 here",
        ),
        (
            "aws",
            put(JOIN, ["ray start --address 10.0.0.1:6379"]),
            JOIN,
            "must be the head's, $RAY_HEAD_IP, got 10.0.0.1",
        ),
        (
            "gcp",
            put(
                START,
                ["ray start --head --port 6400 --autoscaling-config=~/ray_bootstrap_config.yaml"],
            ),
            JOIN,
            "got 6400 there and 6379 here",
        ),
        (
            "local",
            put(START, ["ray start --head --autoscaling-config=~/ray_bootstrap_config.yaml"]),
            START,
            "must set RAY_enable_autoscaler_v2=0",
        ),
        (
            "aws",
            put(f"{TYPES}/gpu-spot/max_workers", "8"),
            f"{TYPES}.gpu-spot.max_workers",
            "must match Ray's schema",
        ),
        ("aws", put("provider", "aws"), "provider.type", "must be known"),
        ("aws", put(TYPES, None), TYPES, "must list the types of machines"),
        (
            "aws",
            put(f"{TYPES}/gpu-spot/resources/GPU", "one"),
            "gpu-spot.resources.GPU",
            "must be a number from 0, got 'one'",
        ),
        (
            "kuberay",
            put(f"{GROUP}/replicas", "2"),
            "replicas",
            "must be a whole number from 0, got '2'",
        ),
        (
            "kuberay",
            put(f"{CONTAINER}/resources/limits/cpu", "four"),
            "resources.cpu",
            "such as 4 or 500m, got 'four'",
        ),
    ],
)
def test_what_ray_refuses_or_what_costs_a_head_first(name, change, place, rule):
    contents = contents_of(name)
    change(contents)
    try:
        findings = examined(contents)
    except ConfigError as error:
        findings = [error]
    assert any(place in str(found) and rule in str(found) for found in findings), [
        *map(str, findings)
    ]
    ours = {
        str(found).partition(":")[0].rpartition(".")[2]
        for found in findings
        if "Ray refuses it" not in str(found)
    }
    assert len(ours) <= 1, [*map(str, findings)]


def leaves(value, path=""):
    """Every place in a file, as paths for `put`."""
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in parts:
        here = f"{path}/{str(key).replace('/', '~')}".removeprefix("/")
        yield here
        yield from leaves(part, here)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("wrong", ["word", [None]], ids=repr)
def test_no_file_is_met_with_a_traceback(name, wrong):
    right = json.dumps(contents_of(name))
    for path in leaves(json.loads(right)):
        contents = json.loads(right)
        put(path, wrong)(contents)
        try:
            examined(contents)
        except ConfigError:
            continue
        except Exception as error:
            raise AssertionError(f"{path}={wrong!r}") from error


def test_ray_itself_refuses_what_is_said_to_be_refused_by_it():
    contents = contents_of("aws")
    contents["docker"] = {"container_name": "ray"}
    with pytest.raises(AssertionError, match="Must provide a container & image name"):
        prepare_config(contents)
    contents = contents_of("local")
    del contents["provider"]["head_ip"]
    with pytest.raises(click.ClickException):
        prepare_config(contents)


class TestTheFileItself:
    def check(self, tmp_path, capsys, content, kind="aws"):
        path = tmp_path / f"{kind}.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code = run_verb(doctor.main, doctor.DoctorConfig, "about", [str(path)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.err

    def test_a_key_twice(self, tmp_path, capsys):
        text = edited("aws").replace(
            "upscaling_speed: 1.0", "upscaling_speed: 1.0\nmax_workers: 80"
        )
        code, error = self.check(tmp_path, capsys, text)
        assert code == MISTAKE
        assert re.search(
            (
                r"max_workers: must appear once, got it in lines \d+ and \d+, of which only the "
                r"last counts"
            ),
            error,
        )

    def test_a_key_twice_further_down(self, tmp_path, capsys):
        text = edited("aws").replace("    priority: 10", "    priority: 10\n    priority: 1")
        assert (
            "available_node_types.gpu-spot.priority: must appear once"
            in self.check(tmp_path, capsys, text)[1]
        )

    def test_not_utf8(self, tmp_path, capsys):
        code, error = self.check(tmp_path, capsys, edited("aws").encode() + b"# caf\xe9\n")
        assert code == MISTAKE
        assert re.search(r"aws\.yaml:\d+: must be UTF-8 text, got byte 0xe9", error)

    def test_a_byte_order_mark(self, tmp_path, capsys):
        assert self.check(tmp_path, capsys, b"\xef\xbb\xbf" + edited("aws").encode())[0] == DONE

    def test_control_characters(self, tmp_path, capsys):
        assert self.check(tmp_path, capsys, b"a: \x00b")[0] == MISTAKE

    def test_a_folder(self, tmp_path, capsys):
        assert run_verb(doctor.main, doctor.DoctorConfig, "about", [str(tmp_path)]) == MISTAKE
        assert "Is a directory" in capsys.readouterr().err

    def test_a_mount_that_is_found_from_another_folder(self, tmp_path, capsys, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert (
            run_verb(doctor.main, doctor.DoctorConfig, "about", [str(CLUSTER / "aws.yaml")])
            == MISTAKE
        )
        assert f"got ./hopsearch, which does not. Run it in {ROOT}" in capsys.readouterr().err

    def test_no_token_yet(self, capsys):
        (Path.home() / ".ray" / "hopsearch").rmdir()
        assert (
            run_verb(doctor.main, doctor.DoctorConfig, "about", [str(CLUSTER / "aws.yaml")])
            == MISTAKE
        )
        assert "Run sh cluster/new-token.sh once" in capsys.readouterr().err

    def test_a_key_that_others_may_read(self, tmp_path, capsys):
        (Path.home() / ".ssh" / "id_ed25519").chmod(0o644)
        code, error = self.check(tmp_path, capsys, edited("local"), "local")
        assert code == MISTAKE
        assert "with mode 644: ssh ignores it" in error


@pytest.mark.parametrize(
    ("cloud", "hidden"), [("aws", ("boto3", "botocore")), ("gcp", ("googleapiclient",))]
)
def test_without_the_clouds_library(tmp_path, cloud, hidden):
    """The verb imports and says what it could not check, where the extra is not installed."""
    file = tmp_path / f"{cloud}.yaml"
    file.write_text(edited(cloud))
    hide = (
        "import importlib.util, sys\n"
        f"hidden = {hidden!r}\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in hidden: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name in hidden else "
        "real(name, package)\n"
        "from hopsearch import doctor\n"
        "from hopsearch.command_line.command import run_verb\n"
        f"sys.exit(run_verb(doctor.main, doctor.DoctorConfig, '', [{str(file)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, text=True, timeout=120)
    assert done.returncode == DONE, done.stderr
    missing = {"aws": "botocore", "gcp": "googleapiclient"}[cloud]
    assert (
        f"node_config was not checked: {missing} is not installed: pip install "
        f"'hopsearch[{cloud}]'" in done.stdout
    )


def test_machine_types_are_as_amazon_describes_them():
    for name, facts in INSTANCE_TYPES.items():
        told = amazon_type(name)
        gpus = sum(gpu.get("Count", 0) for gpu in facts.get("GpuInfo", {}).get("Gpus", []))
        assert told.gpus in (None, gpus), name
        assert told.cpus is None or told.cpus >= facts["VCpuInfo"]["DefaultVCpus"], name
    assert amazon_type("g5.12xlarge") == MachineType(48, 4)
    assert (
        amazon_type("g5.12xlarge").cpus == INSTANCE_TYPES["g5.12xlarge"]["VCpuInfo"]["DefaultVCpus"]
    )


@pytest.mark.parametrize(
    ("name", "attached", "told"),
    [
        ("n2-standard-4", 0, MachineType(4, 0)),
        ("n1-highmem-8", 2, MachineType(8, 2)),
        ("g2-standard-24", 0, MachineType(24, 2)),
        ("a2-highgpu-4g", 0, MachineType(None, 4)),
        ("n2-custom-6-20480", 0, MachineType(6, 0)),
        ("e2-micro", 0, MachineType(None, 0)),
    ],
)
def test_machine_types_of_google(name, attached, told):
    assert google_type(name, attached) == told
