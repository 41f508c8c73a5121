"""Every sampler and every pruner on real Ray: killed with all its processes, run again, nothing
lost and nothing done twice.
"""

import itertools
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import yaml

from hopsearch.core.seeds import derive
from hopsearch.study import PRUNERS, SAMPLERS, State, StudyView
from hopsearch.study.sampling.samplers import GENETIC
from tests.processes import (
    begun,
    check_nothing_lost,
    descendants,
    is_alive,
    start,
    wait_for,
    wait_gone,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

# A grid can be laid over it, and enough of it is ordered for cmaes and gp. An epoch takes a
# fraction of a second.
SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 4, "reduction": 2},
    "fixed": {
        "model.family": "imixer",
        "model.dim": 16,
        "model.depth": 1,
        "model.patch_size": 4,
        "optim.batch_size": 256,
    },
    "parameters": {
        "optim.lr": {"type": "float", "low": 0.001, "high": 0.012, "step": 0.001},
        "model.n_iter": {"type": "int", "low": 0, "high": 2},
        "model.h_ratio": {
            "type": "float",
            "low": 0.5,
            "high": 1.0,
            "step": 0.5,
            "when": {"model.n_iter": {"min": 1}},
        },
    },
}
PAUSING = ("adaptive_asha", "asha_promotion", "curve", "delayed_asha", "pasha", "one_epoch")

# Not the product: a sampler and a pruner share nothing but the journal, and how they go together is
# held by the simulator's contract tests. Here each must survive with its processes once, so they
# are paired off; what is left over meets the default.
PAIRS = [
    (sampler or "tpe_gp", pruner or "adaptive_asha")
    for sampler, pruner in itertools.zip_longest(sorted(SAMPLERS), sorted(PRUNERS))
]


def enough(sampler: str) -> int:
    """Trials some of which are proposed from what was learnt: by tpe from the eleventh on, gp the
    17th, the genetic the 21st.
    """
    return 22 if sampler in GENETIC else 19 if sampler in ("gp", "tpe_gp") else 13


def reports(journal: Path) -> Counter:
    """How often the journal holds each (trial, epoch)."""
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
    told = [
        json.loads(line) for line in lines if '"intermediate_value"' in line and line.endswith("}")
    ]
    return Counter((line["trial_id"], line["step"]) for line in told)


def kill_all(pid: int) -> None:
    """SIGKILL for a process and all below it, Ray's own included, as when a machine's power
    goes.
    """
    os.kill(pid, signal.SIGSTOP)  # it starts nothing meanwhile
    family = [pid, *descendants(pid)]
    for each in family:
        if is_alive(each):
            os.kill(each, signal.SIGKILL)
    assert wait_gone(family)


@pytest.mark.in_turns
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_killed_with_all_its_processes(tmp_path, sampler, pruner):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    trials, target = enough(sampler), 4 + derive("kill", sampler, pruner) % 6
    words = [
        f"space={tmp_path / 'tiny.yaml'}",
        "study=mine",
        f"sampler={sampler}",
        f"pruner={pruner}",
        f"trials={trials}",
    ]
    words += ["finish=false", "checkpoint.keep=2"]
    folder = tmp_path / "runs" / "mine"
    first = start(tmp_path, *words)
    journal = folder / "journal.log"

    def in_its_midst() -> bool:
        enough_reports = len(reports(journal)) >= target
        return enough_reports and (pruner not in PAUSING or bool(StudyView.open(folder).waiting()))

    assert wait_for(in_its_midst, first), (tmp_path / "log.txt").read_text()[-3000:]
    kill_all(first.pid)
    first.wait()
    known = StudyView.open(folder)
    assert known.epochs >= target
    # in its midst
    assert len(known.counted()) < trials or any(
        not record.state.ended for record in known.counted()
    )
    assert known.waiting() or pruner not in PAUSING

    second = start(tmp_path, *words)
    assert second.wait(timeout=200) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    check_nothing_lost(folder, trials, disturbances=1)
    view = StudyView.open(folder)
    check_unchanged(known, view)
    best = [record.number for record in view.ranked()[:2]]
    assert (
        {int(file.parent.name) for file in folder.glob("trials/*/*.pt")}
        == set(best)
        == set(view.kept)
    )
    assert set(reports(journal).values()) == {1}
    again = begun(folder)
    for record in known.waiting():  # one that went on did so from its checkpoint
        assert {again[f"{record.number:04d}", str(epoch)] for epoch in record.curve} == {1}


def check_unchanged(known: StudyView, view: StudyView) -> None:
    """What was known before the kill is known after it, and has become longer only."""
    for number, before in known.records.items():
        after = view.records[number]
        # none yet: the kill came in the midst of a proposal
        for fact in ("config", "seed", "source"):
            assert getattr(before, fact) in (getattr(after, fact), {}, 0, "")
        assert before.params.items() <= after.params.items()
        assert before.curve.items() <= after.curve.items()
        assert before.decisions.items() <= after.decisions.items()
        assert before.promotions.items() <= after.promotions.items()
        assert not before.state.ended or after.state == before.state
    for record in view.counted():
        assert list(record.curve) == list(range(1, record.epoch + 1))
        assert record.state in (State.COMPLETE, State.PRUNED)
        assert (record.epoch == view.identity.space.fidelity.max_epochs) == (
            record.state == State.COMPLETE
        )
    assert any(
        record.number in known.records and record.epoch > known.records[record.number].epoch
        for record in view.counted()
    )
