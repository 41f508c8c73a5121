"""Passwords and keys: in nothing that is written, shown or given away."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest
import sqlalchemy

from hopsearch import export, report, tune
from hopsearch.command_line.command import BUG, MISTAKE, run_verb
from hopsearch.core import redaction
from hopsearch.core.config import brief
from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.core.redaction import formatted, learn_from, redact
from hopsearch.data import DataConfig, load
from hopsearch.jobs.job import Job, JobRun
from hopsearch.reporting.terminal.console import make_console
from hopsearch.storage.lease import EXPIRY
from hopsearch.study import Identity, StudyView
from hopsearch.study.persistence.database_lease import DatabaseLease
from tests.conftest import FAMILIES_SPACE, environment, folder_of_images, identity, search_little

MARK = "mArKeD7secret"
URLS = [
    f"database=postgresql+psycopg://bob:{MARK}@db.host:5432/x?sslmode=require",
    f"database=mysql+pymysql://root:{MARK}/with@slash@h/db",
    f"storage=s3://AKIAEXAMPLE:{MARK}%2Fmore@bucket/path?endpoint_override=localhost",
    f"storage=s3://bucket/path?access_key={MARK}&secret_key={MARK}&region=us-west-2",
    f"AWS_SECRET_ACCESS_KEY={MARK} PGPASSWORD={MARK}",
    f"{{'secret_key': '{MARK}', \"password\": \"{MARK}\"}}",
    f"https://bucket.s3.amazonaws.com/x?X-Amz-Signature={MARK}&X-Amz-Security-Token={MARK}",
    f"AccountKey={MARK};EndpointSuffix=core.windows.net",
    f"https://{MARK}@example.org/x",
]


class TestRedaction:
    @pytest.mark.parametrize("text", URLS)
    def test_hides(self, text):
        hidden = redact(text)
        assert MARK not in hidden
        assert "***" in hidden
        assert redact(hidden) == hidden

    @pytest.mark.parametrize(
        "text",
        [
            "sqlite:///study.db",
            "postgresql://bob@host/x",
            "s3://bucket/path?region=us-west-2&endpoint_override=http%3A%2F%2F127.0.0.1%3A5000",
            "model.token_ratio=2 must hold, got tokens: 64",
            "watch it: tensorboard --logdir runs/x/tensorboard, http://localhost:6006/",
            "model.depth: 3 != 4; optim.lr: 0.1 != 0.2",
            "key=value",
        ],
    )
    def test_leaves_the_rest(self, text):
        assert redact(text) == text

    def test_what_was_a_password_once_is_hidden_alone(self):
        redact("postgresql://bob:p%40ss-of-bob@host/x")
        assert (
            redact("FATAL: no entry for p@ss-of-bob, nor p%40ss-of-bob")
            == "FATAL: no entry for ***, nor ***"
        )

    @pytest.mark.parametrize(
        "address",
        [
            "postgresql://u:{}@h/db",
            "postgresql:/u:{}@h/db",
            "postgres:u:{}@h/db",
            "u:{}@h:5432/db",
            "redis://:{}@h",
        ],
    )
    @pytest.mark.parametrize("password", ["it's secret 7", 'a"b<c> secret', "se/cr:et@7"])
    def test_an_address_whatever_it_looks_like(self, monkeypatch, address, password):
        monkeypatch.setattr(redaction, "_known", set())
        text = address.format(password)
        learn_from([("storage", "s3://bucket/path"), ("trials", 3), ("database", text)])
        assert password not in redact(f"cannot open {text}")
        assert "***" in redact(f"cannot open {text}")

    @pytest.mark.parametrize(
        "address",
        [
            "sqlite:////data/a@b:c.db",
            "s3://b/p@q?endpoint_override=http://h:9",
            "runs",
            "s3://b@c/d",
        ],
    )
    def test_an_address_without_one(self, monkeypatch, address):
        monkeypatch.setattr(redaction, "_known", set())
        learn_from([("storage", address)])
        assert not redaction._known

    def test_a_word_without_a_key_and_a_sentence(self, capsys):
        address = f"postgresql://bob:{MARK}@h/db"
        assert (
            run_verb(tune.main, tune.TuneConfig, "about", [f"{address}?sslmode=require"]) == MISTAKE
        )
        make_console().print(f"address={address}: not asked")
        shown = capsys.readouterr()
        assert MARK not in shown.out + shown.err
        assert "postgresql://bob:***@h/db" in shown.err

    def test_a_value_that_is_shown_in_part(self):
        assert MARK not in brief(f"postgresql://{'u' * 50}:{MARK}-{'x' * 50}@h/db")

    def test_errors_and_what_led_to_them(self):
        with contextlib.suppress(ConfigError):
            try:
                raise OSError(f"cannot reach {URLS[0]}")
            except OSError as error:
                again = ConfigError(URLS[1], f"got {URLS[2]}", f"try {URLS[3]}")
                raised = again
                raise again from error
        assert MARK not in f"{raised!r} {raised} {formatted(raised)}"
        assert "Traceback" in formatted(raised)

    @pytest.mark.parametrize(
        ("error", "code"), [(RuntimeError, BUG), (lambda text: ConfigError("place", text), MISTAKE)]
    )
    def test_a_verb_tells_none(self, capsys, monkeypatch, error, code):
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(threading, "excepthook", threading.excepthook)

        def fails(words):
            raise error(f"got {words[0]}")

        assert run_verb(fails, tune.TuneConfig, "about", [URLS[0]]) == code
        shown = capsys.readouterr()
        assert MARK not in shown.out + shown.err
        assert (
            "database: a password or key on the command line is visible to every user" in shown.err
        )


def everything(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.fixture(scope="module")
def marked(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("runs") / "secret"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tune", "space=imixer", *URLS[:4], "data=/home/bob/private"])
        search_little(folder, digits, FAMILIES_SPACE, 3)
    return folder


class TestASearch:
    """A real little search whose command line held a password; with report, TensorBoard, and
    everything that it exports.
    """

    def test_nothing_of_it_holds_the_secret(self, tmp_path, marked, capsys):
        view = StudyView.open(marked)
        assert "database=postgresql+psycopg://bob:***@db.host" in view.identity.origin["command"]
        for layout in ("html", "json", "md", "csv"):
            report.write_report(view, layout, tmp_path / f"report.{layout}")
        export.write_export(view, tmp_path / "model")
        export.write_export(view, tmp_path / "told", origin=True)
        report.main(
            [f"study={marked.name}", f"storage={marked.parent}", f"to={tmp_path / 'r.html'}"]
        )
        assert MARK.encode() not in everything(tmp_path) + everything(marked)
        assert MARK not in capsys.readouterr().out

    def test_an_export_names_no_path_and_no_command_unless_asked(self, tmp_path, marked):
        view = StudyView.open(marked)
        view.identity.origin["data"]["source"] = "/home/bob/private/photos"
        view.identity.data["source"] = "/home/bob/private/photos"
        card = (export.write_export(view, tmp_path / "model") / "README.md").read_text()
        assert "| source | photos |" in card
        assert "space=imixer" not in card
        told = (export.write_export(view, tmp_path / "told", origin=True) / "README.md").read_text()
        assert "space=imixer" in told
        assert "| source | /home/bob/private/photos |" in told
        for private in (
            b"/home/bob",
            str(marked).encode(),
            str(Path(__file__).parents[1]).encode(),
        ):
            assert private not in everything(tmp_path / "model")

    @pytest.mark.parametrize(
        ("text", "name"),
        [("digits", "digits"), ("cifar10:/data/c", "cifar10"), ("../a/photos/", "photos")],
    )
    def test_names_of_data(self, text, name):
        assert export.name_of(text) == name

    def test_files_follow_the_umask(self, tmp_path, marked):
        before = os.umask(0o022)
        try:
            export.write_export(StudyView.open(marked), tmp_path / "model")
        finally:
            os.umask(before)
        for file in (tmp_path / "model").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o644, file
        assert (
            stat.S_IMODE((marked / "winner" / "model.safetensors").stat().st_mode)
            == 0o666 & ~before
        )

    def test_weights_of_another_study_are_refused(self, tmp_path, marked):
        shutil.copytree(marked, tmp_path / "secret")
        config = tmp_path / "secret" / "winner" / "config.json"
        about = json.loads(config.read_text())
        about["hopsearch"]["trial"]["optim"]["lr"] *= 2
        config.write_text(json.dumps(about))
        with pytest.raises(
            StudyError,
            match=r"the weights must be those of trial \d+, got \(theirs != the trial's\) optim.lr",
        ):
            export.write_export(StudyView.open(tmp_path / "secret"), tmp_path / "model")


def test_a_study_of_an_older_version_that_kept_one():
    old = identity().to_dict() | {"origin": {"command": f"tune {URLS[0]}"}}
    old.pop("format")
    assert Identity.from_dict(old).origin["command"] == redact(f"tune {URLS[0]}")


def test_a_workers_words(tmp_path, tiny, monkeypatch):
    run = JobRun(Job(number=0, trial=tiny, data=DataConfig(), folder=str(tmp_path / "t")))

    def fails(*_):
        raise RuntimeError(f"cannot reach {URLS[2]}")

    monkeypatch.setattr(run, "_built", fails)
    assert MARK not in run.advance().model_dump_json()


@pytest.mark.long
def test_an_onnx_file_names_no_path(tmp_path, searched):
    export.write_export(StudyView.open(searched), tmp_path / "model", format="onnx")
    assert str(Path(__file__).parents[1]).encode() not in everything(tmp_path / "model")
    assert b"site-packages" not in everything(tmp_path / "model")


def test_the_cache_can_be_shared(tmp_path):
    folder_of_images(tmp_path / "photos")
    load(DataConfig(source=str(tmp_path / "photos"), cache=str(tmp_path / "shared")))
    mask = os.umask(0)
    os.umask(mask)
    files = [file for file in (tmp_path / "shared").iterdir() if file.suffix in (".npy", ".json")]
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o666 & ~mask}


def test_a_database_that_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv(EXPIRY, "1")
    said: list[str] = []
    engine, place = (
        sqlalchemy.create_engine(f"sqlite:///{tmp_path}/study.db"),
        f"postgresql://bob:{MARK}@host/x",
    )
    first = DatabaseLease(engine, "study", place, said.append)
    first._over.set()  # no more heartbeats
    with engine.begin() as connection:  # as from another machine
        other = "UPDATE hopsearch_lease SET holder = replace(holder, :key, :key || 'other ')"
        connection.execute(sqlalchemy.text(other), {"key": '"machine": "'})
    DatabaseLease(sqlalchemy.create_engine(engine.url), "study", place, said.append).release()
    assert "waiting up to 1 s" in said[0]
    assert "taken over from" in said[1]
    assert MARK not in "".join(said)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_real_search_with_a_key_in_its_storage_and_a_password_in_its_database(
    tmp_path, s3, postgresql
):
    """Ray's own logs too: it keeps the command lines of drivers, and what it is given to run."""
    import boto3

    client, bucket = boto3.client("s3"), s3.split("/")[2]
    address = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    secret = [
        f"storage=s3://test:{MARK}@{bucket}?endpoint_override={address}&scheme=http&region=us-west-2"
    ]
    # the server asks for none, and takes any
    secret += [f"database={postgresql.replace('bob@', f'bob:{MARK}@')}"]
    small = ["model.dim=16", "model.depth=1", "model.patch_size=4"]
    search = [
        "-m",
        "hopsearch.tune",
        "space=imixer",
        "trials=1",
        "finish=false",
        "study=s",
        *small,
        *secret,
    ]
    train = ["-m", "hopsearch.train", "from=s", "epochs=1", "name=t", *secret]
    # Ray's own files: its sockets' paths must be short
    scratch = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    shown = b""
    clean = {
        name: value for name, value in environment(tmp_path).items() if not name.startswith("AWS_")
    }
    for verb in (search, train):
        done = subprocess.run(
            [sys.executable, *verb],
            env=clean | {"TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[1])},
            cwd=tmp_path,
            capture_output=True,
            timeout=190,
        )
        shown += done.stdout + done.stderr
        assert done.returncode == 0, shown.decode()[-3000:]
    names = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
    stored = b"".join(client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names)
    engine, tables = sqlalchemy.create_engine(postgresql), sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = repr(
            [
                tuple(row)
                for table in tables.tables.values()
                for row in connection.execute(table.select())
            ]
        )
    engine.dispose()
    assert "space=imixer" in rows
    assert {"s/leaderboard.csv", "t/result.json"} <= set(names)
    assert list(scratch.rglob("gcs_server*.out"))  # that is where it logs
    assert MARK.encode() not in rows.encode() + shown + stored + everything(tmp_path) + everything(
        scratch
    )
    shutil.rmtree(scratch)
