"""`ray up cluster/aws.yaml`, from the first command to the last, on an emulated Amazon: one
cluster, one search, every calamity.

The tests are one story and run in their order; each takes the cluster as the one before left it.
"""

import fnmatch
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hopsearch.study import State, StudyView
from tests.cloud.network import OPERATOR, PROJECT, Network
from tests.cloud.operator import Operator

moto = pytest.importorskip("moto")
from tests.cloud.aws import ENDPOINT, NOBODY, REGION, Cloud  # noqa: E402  # needs moto

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

BUCKET = "studies"
STUDY = "imixer-digits"
TRIALS, EPOCHS = 3, 16  # the checkpoints of three are kept
SEARCH = (
    *(
        "python",
        "-m",
        "hopsearch.tune",
        "space=imixer",
        "address=auto",
        f"storage=s3://{BUCKET}/runs",
        f"trials={TRIALS}",
    ),
    *(
        "trial.gpus=1",
        "trial.concurrent=1",
        "train.device=cpu",
        f"train.epochs={EPOCHS}",
        "pruner=none",
        "model.depth=6",
        "model.dim=64",
    ),
)
EDITED = {  # the marked lines, as this operator sets them
    "use_internal_ips: false": "use_internal_ips: true",
    "203.0.113.7/32": f"{OPERATOR}/32",
    "idle_timeout_minutes: 5": "idle_timeout_minutes: 0.25",
    "max_workers: 8                        #": "max_workers: 2                        #",
}


@dataclass
class Story:
    """What the tests share."""

    cloud: Cloud
    operator: Operator
    times: dict[str, float] = field(default_factory=dict)

    def journal(self, folder) -> StudyView | None:
        """The study as the storage has it."""
        s3 = self.cloud.client("s3")
        if "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"runs/{STUDY}/journal.log"):
            return None
        folder.mkdir(exist_ok=True)
        (folder / "journal.log").write_bytes(
            s3.get_object(Bucket=BUCKET, Key=f"runs/{STUDY}/journal.log")["Body"].read()
        )
        return StudyView.open(folder)

    def worker(self) -> dict:
        """The one worker that is there."""
        return self.cloud.wait(lambda: self.cloud.instances("worker"), 200, "a worker is launched")[
            0
        ]

    def begun(self) -> Counter:
        """How often each (trial, epoch) was begun, by the workers' own logs as the storage has
        them.
        """
        s3, counts = self.cloud.client("s3"), Counter()
        for number in range(TRIALS):
            text = (
                s3.get_object(Bucket=BUCKET, Key=f"runs/{STUDY}/trials/{number:04d}/epochs.log")[
                    "Body"
                ]
                .read()
                .decode()
            )
            counts.update((number, int(line.split()[0])) for line in text.splitlines())
        return counts


@pytest.fixture(scope="module")
def story(network: Network) -> Iterator[Story]:
    with Cloud(network) as cloud:
        text = (PROJECT / "cluster" / "aws.yaml").read_text()
        for line, edited in EDITED.items():
            assert any(line in shipped and "EDIT" in shipped for shipped in text.splitlines()), line
            text = text.replace(line, edited)
        (network.folder / "aws.yaml").write_text(text)
        yield Story(
            cloud,
            Operator(
                network, network.folder / "aws.yaml", {**NOBODY, "AWS_ENDPOINT_URL": ENDPOINT}
            ),
        )


def test_up(story):
    cloud, operator = story.cloud, story.operator
    operator.run("sh", "cluster/new-token.sh")
    cloud.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    for _ in range(2):  # a second time changes nothing
        assert "hopsearch-worker is ready" in operator.run("python", "cluster/aws_iam.py", BUCKET)
    story.times["ray up"] = operator.up()
    (head,) = cloud.instances()
    assert head["InstanceType"] == "m7i.xlarge"
    assert "InstanceLifecycle" not in head
    assert head["IamInstanceProfile"]["Arn"].endswith("/hopsearch-head")


def test_only_ssh_is_open_and_only_to_the_operator(story):
    group = story.cloud.client("ec2").describe_security_groups(GroupNames=["hopsearch"])[
        "SecurityGroups"
    ][0]
    doors = [
        (rule["IpProtocol"], rule.get("FromPort"), source["CidrIp"])
        for rule in group["IpPermissions"]
        for source in rule["IpRanges"]
    ]
    assert doors == [("tcp", 22, f"{OPERATOR}/32")]
    (head,) = story.cloud.instances("head")
    machine = story.cloud.machine(head)
    listening = re.findall(r"^LISTEN\s+\d+\s+\d+\s+(\S+):(\d+)", machine.run("ss", "-ltn"), re.M)
    loopback = {
        port
        for host, port in listening
        if host.strip("[]").removeprefix("::ffff:").startswith(("127.", "169.254."))
    }
    outside = {port for host, port in listening} - loopback
    assert {"8265"} <= loopback - outside  # the dashboard
    network = story.operator.network
    stranger = network.start("stranger", network.address(200))
    reached = {port for port in outside | loopback if _reaches(stranger, machine.address, port)}
    assert reached == set(), "an outsider reaches the head"
    from_here = {
        port
        for port in outside
        if network.operator(*_knock(machine.address, port), check=False).returncode == 0
    }
    assert from_here == {"22"}
    network.end("stranger")


def _knock(address: str, port: str) -> tuple[str, ...]:
    return ("timeout", "0.3", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")


def _reaches(machine, address: str, port: str) -> bool:
    return "reached" in machine.run(
        "bash",
        "-c",
        f"timeout 0.3 bash -c 'exec 3<>/dev/tcp/{address}/{port}' && echo reached",
        check=False,
    )


def test_nobody_without_the_token(story):
    operator = story.operator
    token = operator.token.read_text()
    (head,) = story.cloud.instances("head")
    machine = story.cloud.machine(head)
    job = '{"entrypoint": "id"}'
    with operator.tunnel():
        for path in ("/api/jobs/", "/api/version", "/nodes?view=summary", "/metrics"):
            assert operator.status(path, token) not in (0, 401, 403), path
            for wrong in (None, "0" * 64):
                assert operator.status(path, wrong) in (401, 403), path
        assert operator.status("/api/jobs/", None, "POST", job) == 401
    connect = "import ray; ray.init(address='auto', log_to_driver=False); print('let in')"
    as_user = ("su", "-", "ubuntu", "-c")
    for setting, allowed in (
        ("", True),
        ("RAY_AUTH_MODE=disabled", False),
        (f"RAY_AUTH_TOKEN={'0' * 64}", False),
    ):
        command = f'{setting or "RAY_AUTH_MODE=token"} timeout 60 ~/env/bin/python -c "{connect}"'
        assert ("let in" in machine.run(*as_user, command, check=False)) == allowed, setting
    assert stat.S_IMODE(operator.token.stat().st_mode) == 0o600
    assert machine.run("stat", "-c", "%a %U", "/home/ubuntu/.ray/auth_token").split() == [
        "600",
        "ubuntu",
    ]


def test_a_search_brings_a_worker_although_spot_machines_are_scarce(story, tmp_path):
    cloud = story.cloud
    cloud.no_capacity = {"g6.xlarge/spot", "g5.xlarge/spot"}
    with story.operator.tunnel():
        asked = time.monotonic()
        job = story.operator.submit(*SEARCH)
        worker = story.worker()
        story.times["demand to RunInstances, two types refused"] = time.monotonic() - asked
        assert worker["InstanceType"] == "g4dn.xlarge"
        assert worker["InstanceLifecycle"] == "spot"
        assert worker["IamInstanceProfile"]["Arn"].endswith("/hopsearch-worker")
        launches = [call for call in cloud.calls if call.action == "RunInstances"][1:]
        # the role's keys, from the metadata service
        assert {call.key for call in launches} == {"ASIA-hopsearch-head"}
        assert [call.market for call in launches if not call.refused] == ["g4dn.xlarge/spot"]
        cloud.wait(
            lambda: _epochs(story, tmp_path) >= 3, 400, f"epochs come in; {job.text[-2000:]}"
        )
        story.times["demand to 3 epochs"] = time.monotonic() - asked
    (head,) = cloud.instances("head")
    said = cloud.machine(head).run("bash", "-c", "cat /tmp/ray/session_latest/logs/monitor.*")
    assert (
        "spot pool: no g6.xlarge (spot) (InsufficientInstanceCapacity), trying g5.xlarge (spot)"
        in said
    )
    machine = cloud.machine(worker)
    assert machine.run("stat", "-c", "%a %U", "/home/ubuntu/.ray/auth_token").split() == [
        "600",
        "ubuntu",
    ]
    assert "spot_watcher.py" in machine.run("ps", "-efww")
    cloud.no_capacity = set()


def _epochs(story: Story, folder) -> int:
    view = story.journal(folder / "copy")
    return view.epochs if view else 0


def test_a_worker_goes_with_notice(story, tmp_path):
    _disturb(story, tmp_path, notice=120)


def test_a_worker_goes_without_notice(story, tmp_path):
    _disturb(story, tmp_path, notice=0)


def _disturb(story: Story, tmp_path, notice: float) -> None:
    """Take the worker away; the search must go on elsewhere."""
    cloud, before = story.cloud, _epochs(story, tmp_path)
    cloud.wait(lambda: _epochs(story, tmp_path) > before, 400, "the search goes on")
    worker = story.worker()
    began = time.monotonic()
    if notice:  # the watcher drains the machine, and the autoscaler lets it go when it is empty
        cloud.announce(worker, notice)
        cloud.wait(
            lambda: worker["InstanceId"] not in _identifiers(story),
            notice,
            "the machine is empty in time",
        )
    else:
        cloud.take_away(worker)
    last = _epochs(story, tmp_path)
    cloud.wait(lambda: _epochs(story, tmp_path) > last + 1, 400, "the search goes on elsewhere")
    story.times[f"worker gone {'with' if notice else 'without'} notice to epochs again"] = (
        time.monotonic() - began
    )


def _identifiers(story: Story) -> set[str]:
    return {instance["InstanceId"] for instance in story.cloud.instances()}


def test_the_head_is_lost(story, tmp_path):
    cloud, operator = story.cloud, story.operator
    view = story.journal(tmp_path / "copy")
    assert [record for record in view.counted() if record.state == State.RUNNING], (
        "the search is over too soon to lose its head"
    )
    (head,) = cloud.instances("head")
    cloud.take_away(head)
    cloud.wait(lambda: not cloud.instances("head"), 30, "the head is gone")
    story.times["ray up of a second head"] = operator.up()
    with operator.tunnel():
        began = time.monotonic()
        job = operator.submit(*SEARCH)
        code = job.wait(900)
        story.times["the same command on the new head, to its end"] = time.monotonic() - began
    assert code == 0, job.text[-3000:]
    after = story.journal(tmp_path / "after")
    for number, record in view.records.items():  # what was known is known
        assert record.curve.items() <= after.records[number].curve.items()


def test_nothing_is_lost_or_doubled(story, tmp_path):
    view = story.journal(tmp_path / "copy")
    assert [record.number for record in view.counted()] == list(range(TRIALS))
    assert {record.state for record in view.counted()} == {State.COMPLETE}
    assert all(sorted(record.curve) == list(range(1, EPOCHS + 1)) for record in view.counted())
    assert view.audit() == []
    begun = story.begun()
    assert set(begun) == {
        (number, epoch) for number in range(TRIALS) for epoch in range(1, EPOCHS + 1)
    }
    # an epoch a machine lost, of three
    assert sum(begun.values()) - len(begun) <= 3, begun.most_common(4)
    names = {
        item["Key"] for item in story.cloud.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    }
    assert f"runs/{STUDY}/leaderboard.csv" in names
    assert any("/winner/" in name for name in names)


def test_idle_workers_go_and_down_leaves_nothing(story):
    cloud, began = story.cloud, time.monotonic()
    cloud.wait(lambda: not cloud.instances("worker"), 200, "idle workers go")
    story.times["end of the search to no worker"] = time.monotonic() - began
    began = time.monotonic()
    story.operator.down()
    story.times["ray down"] = time.monotonic() - began
    cloud.wait(lambda: not cloud.instances(), 30, "nothing is left")
    assert not story.operator.network.machines
    print("\n".join(f"{seconds:7.1f} s  {what}" for what, seconds in story.times.items()))


def test_no_role_asked_for_more_than_it_was_given(story):
    iam = story.cloud.client("iam")
    for role in ("hopsearch-head", "hopsearch-worker"):
        statements = iam.get_role_policy(RoleName=role, PolicyName="hopsearch")["PolicyDocument"][
            "Statement"
        ]
        given = [action for statement in statements for action in statement["Action"]]
        asked = {_action(call.action) for call in story.cloud.calls if call.key == f"ASIA-{role}"}
        assert asked, role
        assert not [
            action
            for action in asked
            if not any(fnmatch.fnmatch(action, pattern) for pattern in given)
        ]


def _action(said: str) -> str:
    """What a call needs, in IAM's words."""
    method, _, path = said.partition(" ")
    if not path:
        return f"ec2:{method}"
    listing = path.strip("/") == BUCKET
    verbs = {
        "GET": "s3:ListBucket" if listing else "s3:GetObject",
        "HEAD": "s3:ListBucket" if listing else "s3:GetObject",
    }
    return (
        verbs.get(method)
        or {"PUT": "s3:PutObject", "POST": "s3:PutObject", "DELETE": "s3:DeleteObject"}[method]
    )
