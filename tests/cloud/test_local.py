"""`ray up cluster/local.yaml` over three machines of one's own: a search and a training over
several of them.
"""

import json
import time

import pytest

from hopsearch.study import State, StudyView
from tests.cloud.network import PROJECT, Network
from tests.cloud.operator import Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

STORAGE = "storage=file:///shared/studies"
SEARCH = (
    "python",
    "-m",
    "hopsearch.tune",
    "space=imixer",
    "address=auto",
    STORAGE,
    "trials=12",
    "pruner=none",
    "train.epochs=9",
    "trial.cpus=1.5",
)
TRAIN = (
    *(
        "python",
        "-m",
        "hopsearch.train",
        "from=imixer-digits",
        "address=auto",
        STORAGE,
        "name=wide",
    ),
    *("workers=2", "cpus=1.5", "epochs=12"),
)


@pytest.fixture(scope="module")
def operator(network: Network) -> Operator:
    addresses = [network.address(number) for number in range(3)]
    for number, address in enumerate(addresses):
        network.start(f"own{number}", address)
    text = (PROJECT / "cluster" / "local.yaml").read_text()
    # ssh looks up ~ in the password file, not in $HOME
    edited = {"~/.ssh/id_ed25519": str(network.home / ".ssh" / "id_ed25519")}
    edited |= {
        "192.0.2.10 ": f"{addresses[0]} ",
        "[192.0.2.11, 192.0.2.12]": f"[{', '.join(addresses[1:])}]",
    }
    for line, words in edited.items():
        assert any(line in shipped and "EDIT" in shipped for shipped in text.splitlines()), line
        text = text.replace(line, words)
    (network.folder / "local.yaml").write_text(text)
    return Operator(network, network.folder / "local.yaml")


def test_a_search_and_a_training_over_several_machines(operator, network):
    operator.run("sh", "cluster/new-token.sh")
    print(f"ray up: {operator.up():.0f} s")
    head, *workers = network.machines.values()
    _wait_for_nodes(operator, 3)
    with operator.tunnel():
        began = time.monotonic()
        job = operator.submit(*SEARCH)
        assert job.wait(600) == 0, job.text[-3000:]
        print(f"search over three machines: {time.monotonic() - began:.0f} s")
        view = StudyView.open(network.shared / "studies" / "imixer-digits")
        assert [record.number for record in view.counted()] == list(range(12))
        assert not [
            record for record in view.counted() if record.state in (State.RUNNING, State.FAILED)
        ]
        busy = [
            machine.name
            for machine in (head, *workers)
            if machine.run("find", "/home/ubuntu", "-name", "epochs.log").strip()
        ]
        assert len(busy) == 3, busy

        began = time.monotonic()
        job = operator.submit(*TRAIN)
        assert job.wait(600) == 0, job.text[-3000:]
        print(f"training over two machines: {time.monotonic() - began:.0f} s")
    facts = json.loads((network.shared / "studies" / "wide" / "result.json").read_text())
    assert facts["epochs"] == 12
    assert facts["val_acc"] >= view.winner["val_acc"] - 0.03
    operator.down()


def _wait_for_nodes(operator: Operator, nodes: int) -> None:
    status = ""
    for _ in range(40):
        status = operator.run("ray", "exec", str(operator.file), "ray status", check=False)
        if f"{nodes} local.cluster.node" in status:
            return
        time.sleep(2)
    raise AssertionError(status)
