"""Opens a study's database: errors in its address are reported before anything is created or
contacted.
"""

from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from sqlalchemy import Engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.study.persistence.database_lease import tell_plainly

_KINDS = ("sqlite", "postgresql", "mysql", "mariadb", "oracle", "mssql")
_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "PyMySQL",
}
"""The package of a driver, if not named like its module."""
_EXAMPLES = (
    "Write e.g. database=sqlite:///study.db, or database=postgresql+psycopg://user@host/name"
)


def check_address(database: str) -> URL:
    """Parse a database's address, without contacting the database.

    Raises:
        ConfigError: an invalid address, an unknown kind of database, a driver that is not
            installed, or no folder for an SQLite file.
    """
    place = f"database={database}"
    try:
        url = make_url(database)
    except ArgumentError:
        raise ConfigError(place, "must be the address of a database", _EXAMPLES) from None
    except ValueError:
        raise ConfigError(
            place, "the port in a database's address must be a number", _EXAMPLES
        ) from None
    kind, _, driver = url.drivername.partition("+")
    if kind not in _KINDS:
        raise ConfigError(place, f"unknown kind of database, got {kind!r}", choices(kind, _KINDS))
    try:
        url.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise ConfigError(place, f"unknown driver of {kind}, got {driver!r}", _EXAMPLES) from None
    except ImportError as error:
        module = error.name or driver
        install = f"pip install '{_PACKAGES.get(module, module)}'"
        raise ConfigError(
            place,
            f"its driver must be installed, got no Python package {module}",
            f"Install it: {install}",
        ) from None
    if kind == "sqlite":
        _check_file(url, place)
    return url


def sqlite_file(database: str) -> Path | None:
    """The file of an SQLite database; None for other databases.

    Raises:
        ConfigError: see `check_address`.
    """
    url = check_address(database)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def open_database(database: str, writer: bool) -> BaseStorage:
    """Optuna's storage in a database.

    Args:
        database: its address.
        writer: whether this process will write; a reader creates no SQLite file, and keeps no
            connection open.

    Raises:
        ConfigError: see `check_address`.
        StudyError: the database does not answer, is not a database, or is of another version of
            Optuna.
    """
    place = f"database={database}"
    file = sqlite_file(database)
    if file and not writer and not file.exists():
        rule = f"must contain a study, got no file {file}"
        raise StudyError(
            place,
            rule,
            (
                "Check the path: after sqlite: three slashes start a relative path, four an "
                "absolute one"
            ),
        )
    pool: dict[str, object] = {} if writer or file else {"poolclass": NullPool}
    try:
        storage = get_storage(RDBStorage(database, engine_kwargs=pool))
    except SQLAlchemyError as error:
        hint = (
            "Check that it is an SQLite file that can be written"
            if file
            else "Check that it is running, and the address"
        )
        raise StudyError(place, f"the database must answer, got: {_plain(error)}", hint) from None
    except RuntimeError as error:  # the tables of another version
        rule = f"the database must have the schema of this version, got: {_plain(error)}"
        hint = "Upgrade it, or start a new study"
        raise StudyError(place, rule, hint) from None
    except (KeyError, IndexError, ValueError) as error:
        rule = f"braces in an address are reserved by Optuna, got {_plain(error)}"
        raise ConfigError(place, rule, "Write %7B and %7D for { and }") from None
    except (OSError, OptunaError) as error:
        raise StudyError(
            place, f"the database must open, got: {_plain(error)}", "Check its address and rights"
        ) from None
    tell_plainly(engine_of(storage), database)
    return storage


def engine_of(storage: BaseStorage) -> Engine:
    """The connection pool of a storage in a database."""
    inner: Any = getattr(storage, "_backend", storage)
    engine: Engine = inner.engine
    return engine


def _check_file(url: URL, place: str) -> None:
    if url.database in (None, "", ":memory:") or url.query.get("mode") == "memory":
        rule = "must name a file, got an in-memory database, which is lost with its process"
        raise ConfigError(place, rule, "Write e.g. database=sqlite:///study.db")
    if str(url.database).startswith("file:"):
        return  # SQLite's own URI form, with its own settings
    file = Path(str(url.database))
    if file.is_dir():
        raise ConfigError(
            place,
            "must name a file, got a folder",
            f"Write e.g. database=sqlite:///{file / 'study.db'}",
        )
    if not file.parent.is_dir():
        rule = f"the folder of its file must exist, got nothing at {file.parent}"
        raise ConfigError(
            place,
            rule,
            (
                "Create it, or check the path: three slashes start a relative path, four an "
                "absolute "
                "one"
            ),
        )


def _plain(error: Exception) -> str:
    """The driver's message in one line, without SQLAlchemy's wrapping."""
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
