"""The lease on a study in a database: a row that only one process can hold, checked in the
transaction of every write.
"""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)

from hopsearch.core.errors import StudyError
from hopsearch.storage.lease import Holder, Lease, Seen

_TABLE = "hopsearch_lease"
_CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "UNIX_TIMESTAMP(NOW(6))",
}
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class DatabaseLease(Lease):
    """Held by the process whose token is in the study's row; heartbeats use the database's own
    clock.

    Every writing transaction first updates that row under its token: it is locked until the commit,
    so that a process that has lost the lease cannot commit anything after another has acquired it.

    Args:
        engine: of the study's storage; all writes through it are checked from then on.
        study: its name.
        place: start of an error message.
        say: see `Lease`.

    Raises:
        StudyError: another process holds the study, or the database cannot be written.
    """

    def __init__(self, engine: Engine, study: str, place: str, say: Callable[[str], None]) -> None:
        super().__init__(f"study {study} in {place}", say)
        self._engine = engine
        self._study = study
        self._token = 0
        self._clock = _CLOCKS.get(engine.dialect.name)
        event.listen(engine, "connect", self._bound)
        engine.dispose()  # earlier connections have no timeout yet
        try:
            self._create()
            self.acquire()
        except BaseException:
            engine.dispose()
            raise
        event.listen(engine, "before_cursor_execute", self._fence)
        event.listen(engine, "commit", self._next)
        event.listen(engine, "rollback", self._next)

    def release(self) -> None:
        """As in `Lease`; the connections are closed too."""
        super().release()
        self._engine.dispose()

    def _create(self) -> None:
        columns = (
            "study VARCHAR(255) PRIMARY KEY, token BIGINT NOT NULL, beat DOUBLE PRECISION "
            "NOT NULL, holder TEXT NOT NULL"
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(text(f"CREATE TABLE IF NOT EXISTS {_TABLE} ({columns})"))
        except IntegrityError:  # two processes created it at once
            return
        except SQLAlchemyError as error:
            raise StudyError(
                self._place,
                f"the database must be writable, got: {error}",
                "Check its address and rights",
            ) from error

    def _look(self) -> Seen:
        with self._engine.connect() as connection:
            query = (
                f"SELECT token, beat, holder, {self._now()} - beat FROM {_TABLE} WHERE study "
                f"= :study"
            )
            row = connection.execute(text(query), {"study": self._study}).first()
        if row is None:
            return Seen(None)
        token, beat, holder, age = row
        return Seen(Holder.read(holder), repr(beat), float(age), int(token))

    def _take(self, seen: Seen) -> bool:
        values = {
            "study": self._study,
            "token": seen.token,
            "holder": self.me.text,
            "beat": seen.beat and float(seen.beat),
        }
        if seen.token is None:
            change = (
                f"INSERT INTO {_TABLE} (study, token, beat, holder) VALUES (:study, 1, "
                f"{self._now()}, :holder)"
            )
            values.pop("token")
            values.pop("beat")
        else:
            change = (
                f"UPDATE {_TABLE} SET token = token + 1, beat = {self._now()}, holder = :holder "
                "WHERE study = :study AND token = :token AND beat <= :beat + 0.000001"
            )
        try:
            with self._engine.begin() as connection:
                taken = connection.execute(text(change), values).rowcount == 1
        except IntegrityError:
            return False
        self._token = 1 if seen.token is None else seen.token + 1
        return taken

    def _beat(self) -> bool:
        with self._engine.begin() as connection:
            return self._touch(connection)

    def _give_back(self) -> None:
        with self._engine.begin() as connection:
            change = (
                f"UPDATE {_TABLE} SET holder = '', beat = 0 WHERE study = :study AND token = :token"
            )
            connection.execute(text(change), {"study": self._study, "token": self._token})

    def _touch(self, connection: Connection) -> bool:
        change = f"UPDATE {_TABLE} SET beat = {self._now()} WHERE study = :study AND token = :token"
        return bool(
            connection.execute(text(change), {"study": self._study, "token": self._token}).rowcount
            == 1
        )

    def _now(self) -> str:
        if self._clock:
            return self._clock
        return repr(time.time())  # another kind of database: this machine's clock

    def _bound(self, connection: Any, _: Any) -> None:
        # A holder that is stopped in the middle of a write would keep its row locked, and block its
        # successor, forever.
        bound = {
            "postgresql": f"SET idle_in_transaction_session_timeout = {int(self._seconds * 1000)}",
            "mysql": f"SET SESSION wait_timeout = {max(1, int(self._seconds))}",
        }.get(self._engine.dialect.name)
        if bound:
            cursor = connection.cursor()
            cursor.execute(bound)
            cursor.close()
            connection.commit()

    def _fence(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if (
            _TABLE in statement
            or connection.info.get(_TABLE)
            or not statement.lstrip()[:7].upper().startswith(_WRITES)
        ):
            return
        if self._lost or not self._touch(connection):
            connection.info.pop(_TABLE, None)
            raise self.lost()
        connection.info[_TABLE] = True

    def _next(self, connection: Connection) -> None:
        # as when the server has closed it; a new connection starts afresh
        if not connection.invalidated:
            connection.info.pop(_TABLE, None)


def tell_plainly(engine: Engine, place: str) -> None:
    """Turn failures of the database connection into a user error instead of a traceback."""

    def explain(context: ExceptionContext) -> None:
        if isinstance(
            context.sqlalchemy_exception, OperationalError | InterfaceError | InternalError
        ):
            found = " ".join(str(context.original_exception).split())
            hint = "What was reported before is saved: run the same command again"
            raise StudyError(
                place, f"the database must answer, got: {found}", hint
            ) from context.original_exception

    event.listen(engine, "handle_error", explain)
