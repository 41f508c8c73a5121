"""A wrong address of a database is a sentence with the place, the rule, the value and what to do;
nothing is made by looking.
"""

import sqlite3

import pytest

from hopsearch import report, tune
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.core.errors import ConfigError, UserError
from hopsearch.study import Study, StudyView
from hopsearch.study.persistence.database import check_address, sqlite_file
from tests.conftest import identity

ADDRESSES = [
    ("x.db", "must be the address of a database. Write e.g. database=sqlite:///study.db, or"),
    (
        "sqllite:///x.db",
        (
            "unknown kind of database, got 'sqllite'. Did you mean sqlite? Known: mariadb, mssql, "
            "mysql"
        ),
    ),
    ("postgre://bob@h/x", "unknown kind of database, got 'postgre'. Did you mean postgresql?"),
    (
        "postgresql+psycpg://bob@h/x",
        "unknown driver of postgresql, got 'psycpg'. Write e.g. database=",
    ),
    (
        "postgresql+psycopg://bob@127.0.0.1:port/x",
        "the port in a database's address must be a number. Write e.g.",
    ),
    (
        "sqlite:////nowhere/at/all/x.db",
        "the folder of its file must exist, got nothing at /nowhere/at/all. Create it, or check",
    ),
    ("sqlite:///.", "must name a file, got a folder. Write e.g. database=sqlite:///study.db"),
    (
        "sqlite://",
        "must name a file, got an in-memory database, which is lost with its process. Write e.g.",
    ),
    ("sqlite:///:memory:", "must name a file, got an in-memory database"),
    ("sqlite:///file:x?mode=memory&uri=true", "must name a file, got an in-memory database"),
]


@pytest.fixture
def tell(tmp_path, monkeypatch, capsys):
    """Runs a verb in an empty folder; returns its exit code and what it said as errors."""
    monkeypatch.chdir(tmp_path)

    def run(verb, schema, *words: str) -> tuple[int, str]:
        code = run_verb(verb.main, schema, "about", words)
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(("address", "message"), ADDRESSES)
@pytest.mark.parametrize("dry", [True, False])
def test_an_address_that_cannot_be_is_refused_before_anything_is_read(
    tell, tmp_path, monkeypatch, address, message, dry
):
    monkeypatch.setattr(tune, "read_data", None)
    words = ["space=imixer", f"database={address}", *(["dry_run=true"] if dry else [])]
    code, said = tell(tune, tune.TuneConfig, *words)
    assert (code, said.count("\n")) == (MISTAKE, 1)
    assert said.startswith(f"hopsearch: database={address}: {message}")
    assert tell(report, report.ReportConfig, "study=x", f"database={address}") == (MISTAKE, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "module", "install"),
    [
        ("mysql+pymysql://bob@h/x", "pymysql", "PyMySQL"),
        ("mysql+mysqldb://bob@h/x", "MySQLdb", "mysqlclient"),
    ],
)
def test_a_missing_driver_is_named_with_what_installs_it(address, module, install):
    try:
        __import__(module)
    except ImportError:
        pass
    else:
        pytest.skip(f"{module} is installed")
    with pytest.raises(ConfigError) as caught:
        check_address(address)
    assert str(caught.value) == (
        f"database={address}: its driver must be installed, got no Python package {module}. "
        f"Install it: pip install '{install}'"
    )


def test_a_database_that_does_not_answer_is_one_line_without_its_password(tell):
    pytest.importorskip("psycopg")
    address = "postgresql+psycopg://bob:hunter2hunter@127.0.0.1:1/x"
    code, said = tell(report, report.ReportConfig, "study=x", f"database={address}")
    assert code == MISTAKE
    line = said.splitlines()[-1]
    assert line.startswith(
        "hopsearch: database=postgresql+psycopg://bob:***@127.0.0.1:1/x: the database must "
        "answer, got: "
    )
    assert line.endswith(". Check that it is running, and the address")
    assert "Connection refused" in line
    assert not [
        word for word in ("hunter2", "sqlalche.me", "OperationalError", "Traceback") if word in said
    ]


def test_looking_makes_no_database(tell, tmp_path):
    code, said = tell(report, report.ReportConfig, "study=x", "database=sqlite:///new.db")
    assert (
        code,
        "database=sqlite:///new.db: must contain a study, got no file new.db. Check the "
        "path" in said,
    ) == (MISTAKE, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tell, tmp_path):
    (tmp_path / "x.db").write_text("not at all a database, but long enough to have a header")
    code, said = tell(report, report.ReportConfig, "study=x", "database=sqlite:///x.db")
    assert code == MISTAKE
    assert (
        "the database must answer, got: file is not a database. Check that it is an SQLite file "
        "that can be written" in said
    )


def test_tables_of_another_version(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Study(tmp_path / "test", identity(), "random", "asha", url):
        pass
    with sqlite3.connect(tmp_path / "x.db") as file:
        file.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(
        UserError,
        match=r"the database must have the schema of this version, got: .* optuna .*Upgrade it, or "
        r"start",
    ):
        StudyView.open(tmp_path / "test", url)


def test_other_spellings_of_a_file_are_that_file(tmp_path):
    file = tmp_path / "x.db"
    url = f"sqlite+pysqlite:///{file}?timeout=20"
    assert StudyView.find(tmp_path / "test", url) is None
    assert not file.exists()
    with Study(tmp_path / "test", identity(), "random", "asha", url):
        pass
    assert sqlite_file(url) == file
    assert StudyView.find(tmp_path / "test", url) is not None, (
        "it was taken for a study that has not begun"
    )
    assert StudyView.find(tmp_path / "test", f"sqlite:///{file}") is not None


def test_braces_in_an_address(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"braces in an address are reserved by Optuna, got 'x'\. Write %7B and "
        r"%7D",
    ):
        StudyView.open(tmp_path / "test", "postgresql+psycopg://bob:{x}@127.0.0.1:1/y")
