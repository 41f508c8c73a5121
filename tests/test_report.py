"""The report: a study in every state, its numbers made again from the journal's lines alone, its
page in a real browser.
"""

import csv
import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from selenium.webdriver.support.wait import WebDriverWait

from hopsearch import report
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.core.errors import StudyError
from hopsearch.reporting import facts_of, pareto_front
from hopsearch.reporting.data_frames import trials_frame
from hopsearch.reporting.effects import at_equal_parameters, effect, mean_of
from hopsearch.reporting.leaderboard import leaderboard, write_csv
from hopsearch.reporting.measure_figures import symmetry
from hopsearch.space import load_space
from hopsearch.study import Admission, State, Study, StudyView, TrialRecord
from tests.browser import Browser
from tests.conftest import admit_all, curve, drive, environment, finish, identity, open_study


def written(folder: Path, *words: str) -> str:
    """The report of a study as the command writes it."""
    report.main([f"study={folder.name}", f"storage={folder.parent}", *words])
    layout = next((word.partition("=")[2] for word in words if word.startswith("format=")), "html")
    return (folder / f"report.{layout}").read_text()


def facts_in(page: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.DOTALL)[1]
    )


def figures_in(page: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[
            1
        ]
    )


class Journal:
    """The study by Optuna's journal alone, read line by line: no code of hopsearch or Optuna."""

    def __init__(self, folder: Path) -> None:
        self.state, self.curve, self.attrs, self.reports = {}, {}, {}, []
        for line in (folder / "journal.log").read_text().splitlines():
            entry = json.loads(line)
            trial = entry.get("trial_id")
            if entry["op_code"] == 4:  # a trial is created
                trial = len(self.state)
                self.state[trial], self.curve[trial], self.attrs[trial] = (
                    entry.get("state", 0),
                    {},
                    {},
                )
            elif entry["op_code"] == 6:  # its state changes
                self.state[trial] = entry["state"]
            elif entry["op_code"] == 7:
                self.curve[trial][entry["step"]] = entry["intermediate_value"]
                self.reports.append((trial, entry["step"], entry["intermediate_value"]))
            elif entry["op_code"] == 8:
                self.attrs[trial] |= entry["user_attr"]

    def counted(self) -> list[int]:
        return [trial for trial, attrs in self.attrs.items() if "rejected" not in attrs]


def test_numbers_are_those_of_the_journal(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 25)
        study.fail(study.ask(admit_all).number, "diverged: too hot")
    facts = facts_in(written(tmp_path / "test"))
    journal = Journal(tmp_path / "test")
    counted = journal.counted()
    best = {
        trial: max(journal.curve[trial].values())
        for trial in counted
        if journal.curve[trial] and journal.state[trial] != 3
    }
    order = sorted(best, key=lambda trial: (-best[trial], trial))
    assert [row["trial"] for row in facts["leaderboard"]] == [
        *order,
        *(trial for trial in counted if trial not in best),
    ]
    assert [row["value"] for row in facts["leaderboard"]][: len(order)] == [
        best[trial] for trial in order
    ]
    epochs = sum(len(journal.curve[trial]) for trial in counted)
    full = sum(9 for trial in counted if journal.state[trial] in (1, 2))  # complete, pruned
    assert (facts["cost"]["epochs"], facts["cost"]["full_epochs"]) == (epochs, full)
    assert facts["cost"]["saved_share"] == pytest.approx(1 - epochs / full)
    assert facts["cost"]["training_seconds"] == pytest.approx(
        sum(journal.attrs[trial].get("progress", {}).get("seconds", 0) for trial in counted)
    )
    stopped = [trial for trial in counted if journal.state[trial] == 2]
    assert {int(epoch): count for epoch, count in facts["stops"].items()} == Counter(
        len(journal.curve[t]) for t in stopped
    )
    params = {trial: journal.attrs[trial]["cost"]["params"] for trial in order}

    def beaten(one: int) -> bool:
        as_good = [
            other for other in order if best[other] >= best[one] and params[other] <= params[one]
        ]
        return any((best[other], params[other]) != (best[one], params[one]) for other in as_good)

    front = [trial for trial in order if not beaten(trial)]
    assert sorted(facts["fronts"]["n_params"]) == sorted(front)
    so_far, top = [], -math.inf
    for spent, (trial, epoch, value) in enumerate(journal.reports, start=1):
        if value > top or value == best[trial] or spent == epochs:
            top = max(top, value)
            so_far.append((trial, epoch, spent, value, top))
    keys = ("trial", "epoch", "epochs", "value", "best")
    assert [tuple(point[key] for key in keys) for point in facts["history"]] == so_far
    assert {point["trial"] for point in facts["history"] if point["peak"]} == set(order)
    assert facts["failures"] == [{"reason": "diverged: too hot", "trials": [counted[-1]]}]


def test_all_tables_have_the_same_row_of_a_trial(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 12)
        study.fail(study.ask(admit_all).number, "diverged: too hot")
        rows = leaderboard(study)
        with write_csv(study).open(encoding="utf-8") as file:
            heads, *lines = list(csv.reader(file))
        in_frame, in_facts = trials_frame(study), facts_of(study).leaderboard
    assert ",".join(heads[:14]) == (
        "rank,trial,state,val_acc,best_epoch,epochs,seconds,n_params,flops,seed,reason,front,"
        "latency,memory"
    )
    assert len(rows) == len(lines) == len(in_frame) == len(in_facts) == 13
    for row, line, fact in zip(rows, lines, in_facts, strict=True):
        flat = row.flat()
        of_frame = in_frame.loc[flat["trial"]]
        assert list(fact) == [*flat, "parameters", "metrics", "peak"]
        assert {name: fact[name] for name in flat} == flat
        cells = dict(zip(heads, line, strict=True))
        assert cells["trial"] == str(flat["trial"])
        for name in ("state", "epochs", "n_params", "flops", "seed", "reason"):
            assert cells[name] == str(flat[name])
            assert of_frame[name] == flat[name]
        for name in ("rank", "best_epoch", "front", "latency"):
            assert cells[name] == str(int(flat[name]) if flat[name] else "")
        assert of_frame["front"] == flat["front"]
        assert cells["seconds"] == f"{flat['seconds']:.2f}"
        if flat["value"] is not None:
            assert cells["val_acc"] == f"{flat['value']:.6g}"
            assert of_frame["val_acc"] == flat["value"]
    assert lines[-1][:1] + lines[-1][3:5] == ["", "", ""]


class TestStates:
    """A report can be asked for at any time."""

    def test_of_nothing(self, tmp_path, capsys):
        (tmp_path / "test").mkdir()
        code = run_verb(
            report.main, report.ReportConfig, "about", ["study=test", f"storage={tmp_path}"]
        )
        assert (code, "must contain a study, got no journal.log" in capsys.readouterr().err) == (
            MISTAKE,
            True,
        )

    def test_of_an_empty_study(self, tmp_path):
        with open_study(tmp_path):
            pass
        page = written(tmp_path / "test")
        assert "No trials yet." in page
        assert figures_in(page) == {}
        assert written(tmp_path / "test", "format=md").startswith("# Study test\n\nNo trials yet.")

    def test_of_failures_only(self, tmp_path):
        with open_study(tmp_path) as study:
            for turn in range(4):
                number = study.ask(admit_all).number
                if turn == 3:
                    study.report(number, 1, 0.5, 1.0)  # it had a value, which counts for nothing
                study.fail(
                    number,
                    "out_of_memory: <b>too</b> large" if turn % 2 else "diverged: the loss is nan",
                )
        page = written(tmp_path / "test")
        assert facts_in(page)["counts"]["failed"] == 4
        assert "out_of_memory: &lt;b&gt;too&lt;/b&gt; large" in page
        assert "<b>too</b>" not in page
        assert "history" not in figures_in(page)
        assert "4 failed." in written(tmp_path / "test", "format=md")

    def test_while_it_runs(self, tmp_path):
        with open_study(tmp_path) as study:
            drive(study, 5)
            number = study.ask(admit_all).number
            for _ in range(2):  # another process reads between two epochs of the writer
                study.report(number, study.records[number].epoch + 1, 0.999, 1.0)
                facts = facts_in(written(tmp_path / "test"))
                assert (facts["counts"]["running"], facts["leaderboard"][0]["trial"]) == (1, number)
            ended = [record for record in study.counted() if record.state != State.RUNNING]
            # nothing is saved yet on a trial that still runs
            assert facts["cost"]["full_epochs"] == 9 * len(ended) + 2

    def test_with_a_torn_line(self, tmp_path):
        with open_study(tmp_path) as study:
            drive(study, 6)
        before = facts_in(written(tmp_path / "test"))
        journal = tmp_path / "test" / "journal.log"
        journal.write_bytes(journal.read_bytes() + b'{"op_code":7,"worker_id":"x","tri')
        torn = journal.read_bytes()
        after = facts_in(written(tmp_path / "test"))
        assert {**after, "written": ""} == {**before, "written": ""}
        assert journal.read_bytes() == torn  # a report never writes to the study

    def test_of_a_folder_that_cannot_be_written(self, tmp_path):
        with open_study(tmp_path) as study:
            drive(study, 2)
        with pytest.raises(StudyError, match="must be writable"):
            report.write_report(
                StudyView.open(tmp_path / "test"), target=tmp_path / "nowhere" / "report.html"
            )


class TestFormats:
    def test_json_is_the_pages_facts(self, searched):
        told, shown = json.loads(written(searched, "format=json")), facts_in(written(searched))
        assert {**told, "written": 0, "compare": 0} == {**shown, "written": 0, "compare": 0}

    def test_csv_and_another_place(self, searched, tmp_path, capsys):
        report.main(
            [
                f"study={searched.name}",
                f"storage={searched.parent}",
                "format=csv",
                f"to={tmp_path / 'mine.csv'}",
            ]
        )
        with (tmp_path / "mine.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["trial"]) for row in rows] == [
            row["trial"] for row in facts_of(StudyView.open(searched)).to_dict()["leaderboard"]
        ]

    def test_markdown(self, searched):
        text = written(searched, "format=md")
        winner = StudyView.open(searched).winner
        assert f"Trial {winner['trial']}: val_acc {winner['val_acc']:.4f}" in text
        board = text[text.index("## Leaderboard") :]
        assert board.count("\n| ") == 11  # its head and ten trials

    def test_compared(self, searched, tmp_path):
        other = tmp_path / "other"
        os.symlink(searched, searched.parent / "twin")
        try:
            page = written(searched, "compare=twin")
        finally:
            (searched.parent / "twin").unlink()
        assert 'id="compared"' in page
        names = [
            trace["name"] for trace in figures_in(page)["history"]["data"] if trace.get("name")
        ]
        assert names == ["little"] * 4
        assert not other.exists()


def test_the_front_of_several_metrics():
    points = [
        (0, (0.9, 10, 1)),
        (1, (0.8, 5, 1)),
        (2, (0.8, 6, 1)),
        (3, (0.7, 20, 0)),
        (4, (0.9, 10, 1)),
        (5, (0.1, 99, 9)),
    ]
    assert pareto_front(points, (1, -1, -1)) == [0, 1, 3, 4]
    assert pareto_front([], (1, -1)) == []


def test_a_mean_and_its_interval():
    mean = mean_of([0.5, 0.7, 0.9])
    assert (mean.trials, mean.mean) == (3, pytest.approx(0.7))
    # Student's t at 2 degrees of freedom
    assert mean.margin == pytest.approx(4.30265 * 0.2 / 3**0.5, rel=1e-5)
    assert mean_of([0.5]).margin == float("inf")


@pytest.mark.parametrize(("same", "spread"), [(True, False), (False, True)])
def test_trials_that_all_reached_the_same_have_no_spread(tmp_path, same, spread):
    """A mean of perfect trials is no certainty: "1.0000 ± 0.0000" would say so."""
    with simulated(tmp_path, 40, lambda record: 1.0 if same else 1 - record.number / 100) as study:
        figures = [
            effect(study, "model.depth", [1]),
            symmetry(study, at_equal_parameters(study, 1), 1),
        ]
    for figure in figures:
        assert figure is not None
        told = [
            text for trace in figure.data for text in trace.text or () if text and " trials" in text
        ]
        assert told
        assert all(("±" in text) == spread for text in told), told


def test_families_at_equal_parameters_are_told_apart_from_capacity(tmp_path):
    """SymMixer is half as large, and the value is one line in log(parameters) plus 0.1 for it: a
    plain mean would hide that.
    """

    def level(record: TrialRecord) -> float:
        sym = record.config["model.family"] == "symmixer"
        return 0.1 * math.log(record.cost["n_params"]) + 0.1 * sym

    with simulated(tmp_path, 40, level) as study:
        found = at_equal_parameters(study, 1)
    assert found["symmixer"].mean - found["paramixer"].mean == pytest.approx(0.1, abs=1e-9)
    assert found["asymmixer"].mean == pytest.approx(found["paramixer"].mean, abs=1e-9)


def simulated(folder: Path, trials: int, level=None) -> Study:
    """A study of the shipped space of all families; costs, curves and measures are made up: nothing
    is trained.
    """
    about = {"data.image_size": 8, "data.channels": 1, "data.classes": 10, "data.n_train": 1300}
    study = Study(
        folder / "sim",
        identity("sim", space=load_space("hopfield").resolve(about).to_dict()),
        "random",
        "asha",
    )

    def admit(config: dict) -> Admission:
        params = (
            config["model.depth"]
            * config["model.dim"] ** 2
            * (1 if config["model.family"] == "symmixer" else 2)
        )
        return Admission({"n_params": params, "flops": 100 * params, "memory": 1})

    for number in range(trials):
        record = study.ask(admit)
        iterated = {"fixed_point/residual/mean": 0.1 / record.config.get("model.n_iter", 1)}
        measures = {
            f"{name}/{where}/mean": 0.6
            for name in ("asymmetry", "cosine", "breaking")
            for where in ("tokens", "channels")
        }
        while record.state == State.RUNNING:
            epoch = record.epoch + 1
            value = level(record) if level else curve(number, epoch)
            study.report(
                record.number,
                epoch,
                value,
                float(epoch),
                metrics={"val_loss": 1 - value} | measures | iterated,
            )
    return study


def opened(browser: Browser, file: Path, figures: int) -> float:
    """Open a page, have every figure drawn, and hold that it asked for nothing; returns the seconds
    until it could be read.
    """
    browser.driver.get("about:blank")  # a new browser's own first page is still being made
    browser.requests(), browser.console()
    began = time.monotonic()
    browser.driver.get(file.as_uri())
    WebDriverWait(browser.driver, 30).until(
        lambda driver: driver.execute_script("return !!document.querySelector('[data-drawn=yes]')")
    )
    seconds = time.monotonic() - began
    browser.driver.execute_script("window.drawAll()")
    counting = (
        "return document.querySelectorAll('[data-drawn=yes] .main-svg').length > 0 && "
        "document.querySelectorAll('[data-drawn=yes]').length"
    )
    WebDriverWait(browser.driver, 40).until(
        lambda driver: driver.execute_script(counting) == figures
    )
    # of a WebGL without a GPU
    assert not [line for line in browser.console() if "GPU stall due to ReadPixels" not in line]
    asked = [
        address
        for address in browser.requests()
        if not address.startswith(("data:", "blob:", "chrome:", "about:"))
    ]
    assert asked == [file.as_uri()]
    return seconds


@pytest.mark.timeout(120)
def test_the_page_in_a_browser(searched, browser):
    page = written(searched)
    figures = figures_in(page)
    assert {
        "history",
        "curves",
        "stops",
        "fronts",
        "importance",
        "parallel",
        "slices",
        "grid",
        "asymmetry",
    } <= set(figures)
    opened(browser, searched / "report.html", len(figures))
    driver = browser.driver
    empty = (
        "return [...document.querySelectorAll('[data-figure]')].filter(b => b.clientHeight < "
        "100 || !b.querySelector('svg'))"
    )
    assert driver.execute_script(empty) == []
    best = StudyView.open(searched).ranked()[0].number
    first = (
        "return document.querySelector('#leaderboard ~ .wide tbody tr td:nth-child(2)').textContent"
    )
    assert driver.execute_script(first) == str(best)
    # by the trial's number
    driver.execute_script("document.querySelectorAll('table.sortable th')[1].click()")
    assert driver.execute_script(first) == "0"
    driver.execute_script("document.querySelector('#row-0').click()")
    WebDriverWait(driver, 5).until(
        lambda driver: '"trial": 0' in driver.execute_script("return detail.textContent")
    )


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_real_search_of_all_families_in_a_browser(tmp_path, browser):
    words = ["space=hopfield", "model.dim=32", "train.epochs=3", "trials=60", f"storage={tmp_path}"]
    command = [sys.executable, "-m", "hopsearch.tune", *words]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr
    figures = figures_in(written(tmp_path / "hopfield-digits"))
    assert {
        "history",
        "curves",
        "importance",
        "parallel",
        "grid",
        "n_iter",
        "h_ratio",
        "symmetry_breaking",
    } <= set(figures)
    assert {"asymmetry", "breaking", "residuals"} <= set(figures)
    # Drawn only where the search happened to try two of the three often enough.
    tried = Counter(
        r.config["model.family"]
        for r in StudyView.open(tmp_path / "hopfield-digits").counted()
        if r.epoch
    )
    often = [family for family in ("symmixer", "paramixer", "asymmixer") if tried[family] >= 3]
    assert ("symmetry" in figures) == (len(often) > 1)
    opened(browser, tmp_path / "hopfield-digits" / "report.html", len(figures))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_thousand_trials_in_a_browser(tmp_path, browser):
    with simulated(tmp_path, 1000):
        pass
    began = time.monotonic()
    page = written(tmp_path / "sim")
    seconds, size = time.monotonic() - began, (tmp_path / "sim" / "report.html").stat().st_size
    assert size < 10e6
    figures = figures_in(page)
    assert {
        "n_iter",
        "h_ratio",
        "symmetry_breaking",
        "symmetry",
        "asymmetry",
        "breaking",
        "residuals",
    } <= set(figures)
    shown = opened(browser, tmp_path / "sim" / "report.html", len(figures))
    print(
        f"1000 trials: written in {seconds:.1f} s, {size / 1e6:.1f} MB, first figure after "
        f"{shown:.1f} s"
    )
    assert shown < 15


@pytest.mark.long
def test_from_the_shell_while_another_process_searches(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 3)
        words = [sys.executable, "-m", "hopsearch.report", "study=test", f"storage={tmp_path}"]
        done = subprocess.run(
            words, env=environment(tmp_path), capture_output=True, text=True, timeout=50
        )
        finish(study, study.ask(admit_all).number)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith("report.html")
