"""Clusters that grow: what they can grow to, how many trials that makes, and real ones that do."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import yaml

from hopsearch.core.errors import ResourceError
from hopsearch.data import DataConfig
from hopsearch.jobs.job import Progress
from hopsearch.orchestration.dispatcher import Budget, Dispatcher
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.adapter import StudySearch, StudySearcher
from hopsearch.ray_backend.cluster.connection import MOST, places, slots
from hopsearch.ray_backend.cluster.growth import Growth, NodeType, autoscaler_file
from hopsearch.study import Study
from hopsearch.training import Constraint
from tests.conftest import environment, identity

ROOT = Path(__file__).parents[1]
SMALL, LARGE = (
    NodeType("small", {"CPU": 4, "GPU": 1}, 8),
    NodeType("large", {"CPU": 16, "GPU": 1}, 2),
)
GROWN = Growth((SMALL, LARGE), 8)


@pytest.fixture
def head_alone(monkeypatch):
    """A cluster that has shrunk to its head."""
    nodes = [{"Alive": True, "Resources": {"node:__internal_head__": 1.0, "driver": 64.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)


class TestBounds:
    def test_of_the_shipped_file(self):
        grown = Growth.of(yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text()))
        assert [(each.name, each.most) for each in grown.types] == [
            ("gpu-spot", 8),
            ("gpu-large-spot", 2),
        ]
        assert str(grown) == (
            "8 machines: at most 8 gpu-spot (CPU 4, GPU 1), at most 2 gpu-large-spot (CPU 16, "
            "GPU 1)"
        )

    def test_of_machines_that_nobody_has_described(self):
        assert (
            Growth.of(
                {
                    "max_workers": 2,
                    "available_node_types": {"local": {"resources": {}, "max_workers": 2}},
                }
            )
            is None
        )

    def test_the_roomiest_come_first(self):
        assert GROWN.fit([4, 16]) == 2 * 16 + 6 * 4
        assert GROWN.fit([1, 1]) == 8
        assert GROWN.fit([1, 0]) == 8
        assert GROWN.fit([0, 1]) == 2

    def test_the_autoscalers_file(self, tmp_path):
        file = tmp_path / "cluster.yaml"
        file.write_text("{max_workers: 3}")
        config = f"--autoscaling-config={file}"
        monitor = ["/x/ray/autoscaler/v2/monitor.py", "--gcs-address=10.0.0.1:9", config]
        with standing(config), standing(*monitor):
            assert autoscaler_file("10.0.0.1:9") == {"max_workers": 3}
            assert autoscaler_file("10.0.0.1:10") is None  # another cluster's
            file.unlink()
            assert autoscaler_file("10.0.0.1:9") is None

    def test_no_autoscaler(self):
        assert autoscaler_file("10.0.0.1:9") is None


@contextlib.contextmanager
def standing(*words):
    """A process with these words on its command line."""
    program = [sys.executable, "-S", "-c", "print(1, flush=True); input()", *words]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # it runs
        yield
        process.stdin.close()


@pytest.mark.usefixtures("head_alone")
class TestSlots:
    @pytest.mark.parametrize(
        ("resources", "trials", "count"),
        [
            (TrialResources(cpus=4, gpus=1), 100, 8),
            (TrialResources(cpus=4, gpus=1), 5, 5),
            (TrialResources(cpus=8, gpus=1), 100, 2),
            (TrialResources(cpus=4, gpus=1, workers=3), 100, 2),
            (TrialResources(cpus=1, gpus=0), 100, 2 * 16 + 6 * 4),
            (TrialResources(cpus=0.5, gpus=0), 1000, MOST),
            (TrialResources(cpus=0.5, gpus=0, concurrent=99), 1000, 99),
        ],
    )
    def test_as_many_as_the_grown_cluster_holds(self, resources, trials, count):
        assert slots(resources, GROWN, trials) == count

    @pytest.mark.parametrize(
        ("resources", "message"),
        [
            (
                TrialResources(gpus=2),
                "trial.gpus: .* must have 2 GPU for a worker, got 1 at most, on small",
            ),
            (
                TrialResources(cpus=32, concurrent=8),
                r"32 CPU for a worker, got 16 at most, on large \(CPU 16, GPU 1\)",
            ),
            (
                TrialResources(workers=9, gpus=1),
                "trial.workers: .* 9 workers of a trial, got 8 when grown to 8 machines",
            ),
        ],
    )
    def test_what_can_never_be_placed_is_refused(self, resources, message):
        with pytest.raises(ResourceError, match=message):
            slots(resources, GROWN)

    def test_no_machine_has_both(self):
        grown = Growth(
            (NodeType("cpus", {"CPU": 64}, 2), NodeType("gpus", {"CPU": 4, "GPU": 1}, 2)), 4
        )
        with pytest.raises(
            ResourceError,
            match=r"both 8 CPU and 1 GPU for a worker, got 4 machines: at most 2 cpus",
        ):
            places(TrialResources(cpus=8, gpus=1), "trial.", grown)

    def test_growth_that_is_not_known_needs_a_number(self):
        with pytest.raises(ResourceError, match="1 CPU for a worker, got 0 at most"):
            slots(TrialResources())
        assert slots(TrialResources(concurrent=3)) == 3


def test_tune_keeps_no_worker_for_trials_that_will_not_come(tmp_path, digits):
    space = {
        "fidelity": {"min_epochs": 1, "max_epochs": 3, "reduction": 3},
        "fixed": {"model.family": "imixer", "model.dim": 16, "model.patch_size": 4},
        "parameters": {"model.depth": {"type": "int", "low": 1, "high": 4}},
    }
    with Study(tmp_path / "test", identity(space=space), "random", "none") as study:
        desk = Dispatcher(study, DataConfig(), digits.facts, Constraint(), Budget(trials=2))
        search = StudySearch(StudySearcher(desk, TrialResources(), 2), desk)
        first, last = desk.next_job(), desk.next_job()
        assert search.is_finished()  # both are out, no third will come
        desk.lose(first.number)
        assert not search.is_finished()  # it waits for another worker
        assert desk.next_job().number == first.number
        for number in (first.number, last.number):
            desk.take(
                number,
                Progress(
                    rows=tuple({"epoch": e, "val_acc": 0.5, "seconds": 1.0} for e in (1, 2, 3)),
                    done=True,
                ),
            )
        assert search.is_finished()
        assert desk.queue.finished


ELSEWHERE = """
import ray
from hopsearch.ray_backend.cluster.growth import growth
ray.init(address="auto", log_to_driver=False)
there = ray.remote(num_gpus=1)(lambda: str(growth())).remote()
print("the driver is not on the head:", ray.get(there))
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="namespaces of its own need root: Ray's test cluster ends every Ray process it sees",
)
def test_a_cluster_grows_for_a_search_and_is_let_go(tmp_path):
    """Ray's own autoscaler (the one of `ray up`), its machines processes on this one, with and
    without a driver that lives.
    """
    tune = [
        sys.executable,
        "-m",
        "hopsearch.tune",
        "address=auto",
        "trial.gpus=1",
        "pruner=none",
        "finish=false",
    ]
    small = [
        "space=imixer",
        "model.dim=16",
        "model.depth=1",
        "model.patch_size=4",
        "train.epochs=2",
    ]
    uneven = tmp_path / "uneven.yaml"  # one trial ends at once, the other not in this test
    uneven.write_text(
        "fidelity: {min_epochs: 1, max_epochs: 30, reduction: 3}\n"
        "fixed: {model.family: imixer, model.patch_size: 1, model.n_iter: 2, model.dim: 16}\n"
        "parameters: {model.depth: {type: categorical, choices: [1, 24]}}\n"
        "first: [{model.depth: 24}, {model.depth: 1}]\n"
    )
    wanted = {
        "types": {
            "gpu": {
                "resources": {"CPU": 1, "GPU": 1, "object_store_memory": 100_000_000},
                "max_workers": 2,
            }
        },
        "max_workers": 2,
        "patience": 60,
        "commands": [
            {"words": [*tune, *small, "trials=3", "trial.cpus=2"]},
            {"words": [*tune, *small, "trials=3"], "kill": 120},
            {"words": [sys.executable, "-c", ELSEWHERE], "kill": 60},
            {"words": ["sleep", "15"]},
            {"words": [*tune, f"space={uneven}", "trials=2"], "kill": 150, "until_fewer": True},
        ],
    }
    refused, searched, elsewhere, _, killed, rows = autoscaled(tmp_path, wanted)
    assert refused["code"] == 2
    assert (
        "trial.cpus: a machine of the cluster must have 2 CPU for a worker, got 1 at most, on gpu"
        in refused["output"]
    )
    assert searched["code"] == 0, searched["output"]
    assert (
        "the cluster grows to 2 machines: at most 2 gpu (CPU 1, GPU 1); up to 2 trials at once"
        in searched["output"]
    )
    assert "imixer-digits: 3 complete" in searched["output"]
    assert (
        "the driver is not on the head: 2 machines: at most 2 gpu (CPU 1, GPU 1)"
        in elsewhere["output"]
    )
    assert between(rows, 0, searched["began"]) == {0}
    assert max(between(rows, searched["began"], searched["ended"])) == 2
    assert 0 in between(rows, elsewhere["ended"], killed["began"])  # idle machines go
    # While the last trial runs, the machine that has none left is let go; a driver that is killed
    # leaves no demand behind.
    assert killed["code"] == -9
    assert "trial 1 complete after 30 epochs" in killed["output"]
    assert "trial 0 complete" not in killed["output"]
    assert max(between(rows, killed["began"], killed["ended"])) == 2
    assert rows[-1][1] == 0


def autoscaled(tmp_path: Path, wanted: dict) -> list:
    """What the commands said, then how many machines there were, as (seconds, count)."""
    more = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TMPDIR": "/tmp/hopsearch-autoscaled",
    }
    path = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--net"]
    done = subprocess.run(
        [*alone, sys.executable, str(ROOT / "tests" / "autoscaled.py"), json.dumps(wanted)],
        env=environment(tmp_path) | more | path,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    return [*told["done"], [(at, len(machines)) for at, machines in told["rows"]]]


def between(rows: list, first: float, last: float) -> set[int]:
    return {count for at, count in rows if first <= at <= last}
