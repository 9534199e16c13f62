"""A real Marquez, the lineage server: its API from Maven Central on Java 17, with a database of its own.

``python -m sandbox.marquez`` gets it ahead; it ends with status 3 if Maven says that there is no such artifact.

Its web interface is not published there or on npm; the API answers all that the interface shows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from psycopg import sql

from sandbox.environment import Process, clean_environment, free_port
from sandbox.postgres import Postgres

VERSION = "0.50.0"
DATABASE = "marquez"

_ARTIFACT = ("io.github.marquezproject", "marquez-api", VERSION)
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_JAVA = 17
_NOT_THERE = re.compile(r"Could not find artifact|was not found in")
_NOT_PUBLISHED = 3  # the exit status
_DOWNLOAD_SECONDS = 900
_START_SECONDS = 120.0  # migrations of an empty database among it
_REQUEST_SECONDS = 30.0
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sandbox</groupId><artifactId>marquez</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>{0}</groupId><artifactId>{1}</artifactId><version>{2}</version></dependency>
  </dependencies>
</project>
"""
# ``${…}`` comes from the environment: no password lies in a file.
_CONFIGURATION = """
server:
  applicationConnectors:
  - {{type: http, bindHost: 127.0.0.1, port: {port}, httpCompliance: RFC7230_LEGACY}}
  adminConnectors:
  - {{type: http, bindHost: 127.0.0.1, port: {admin_port}}}
db:
  driverClass: org.postgresql.Driver
  url: ${{MARQUEZ_DATABASE_URL}}
  user: marquez
  password: ${{MARQUEZ_DATABASE_PASSWORD}}
migrateOnStartup: true
graphql: {{enabled: true}}
search: {{enabled: ${{SEARCH_ENABLED:-true}}}}
logging:
  level: WARN
  appenders: [{{type: console}}]
"""


class MarquezMissing(RuntimeError):
    """Something that Marquez needs is not on this machine and can't be had; the message says what."""


class MarquezNotPublished(MarquezMissing):
    """Maven answers that there is no such artifact where it asks."""


class Marquez:
    """
    Marquez's API on a free port of 127.0.0.1, without a login, as it always is.

    :param say: is told what takes long, when it begins.
    :raises MarquezMissing: on entering, without Java, or without Maven on the first time.
    """

    def __init__(self, directory: Path, postgres: Postgres, say: Callable[[str], None] = print) -> None:
        self.url = ""
        self._directory = directory.resolve()
        self._postgres = postgres
        self._say = say
        self._process: Process | None = None
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def __enter__(self) -> Self:
        java, jars = _java(), resolved(self._say)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        port, admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        configuration = self._directory / "marquez.yml"
        configuration.write_text(_CONFIGURATION.format(port=port, admin_port=admin_port), encoding="utf-8")
        options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC"]
        process = Process(
            "Marquez",
            [java, *options, "-cp", f"{jars}/*", "marquez.MarquezApp", "server", configuration],
            log=self._directory / "marquez.log",
            environment=clean_environment(
                self._directory / "home", SEARCH_ENABLED="false", **self._make_database()
            ),
            directory=self._directory,
        )
        self._process = process.start()
        try:
            process.wait_until_ready(self._answers, _START_SECONDS)
        except BaseException:
            process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    def get(self, path: str, **query: object) -> Any:
        """
        Ask the API. :param path: what follows ``/api/v1``.

        :raises urllib.error.HTTPError: for what it does not know, and for what it can't parse.
        """
        return self._asked(path, **query)

    def dataset(self, namespace: str, name: str) -> dict[str, Any]:
        """What it knows of the current version: fields, facets, tags."""
        found: dict[str, Any] = self.get(f"/namespaces/{_quote(namespace)}/datasets/{_quote(name)}")
        return found

    def events(self) -> list[dict[str, Any]]:
        """All events as they came in, newest first."""
        found: list[dict[str, Any]] = self.get("/events/lineage", limit=10_000)["events"]
        return found

    def _asked(self, path: str, **query: object) -> Any:
        address = f"{self.url}/api/v1{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with self._open(address, timeout=_REQUEST_SECONDS) as response:
            return json.loads(response.read())

    def _answers(self) -> bool:
        try:
            self._asked("/namespaces")
        except OSError:
            return False
        return True

    def _make_database(self) -> dict[str, str]:
        password = secrets.token_urlsafe(24)
        server = self._postgres
        with server.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE marquez LOGIN PASSWORD {}").format(password))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER marquez").format(sql.Identifier(DATABASE)))
        trust = urllib.parse.urlencode({"sslmode": "verify-full", "sslrootcert": str(server.ca_pem)})
        return {
            "MARQUEZ_DATABASE_URL": f"jdbc:postgresql://{server.host}:{server.port}/{DATABASE}?{trust}",
            "MARQUEZ_DATABASE_PASSWORD": password,
        }


def as_transport(marquez: Marquez, configured: str, *, keep: bool = False) -> str:
    """
    :param configured: the JSON of our transport, as in ``[openlineage] transport``.
    :param keep: whether what it sends to now gets the events too.
    :return: the same, sending to Marquez.
    """
    transport = json.loads(configured)
    to: dict[str, Any] = {"type": "http", "url": marquez.url}
    if keep:
        to = {"type": "composite", "transports": [transport["transport"], to], "continue_on_failure": False}
    return json.dumps({**transport, "server": "marquez", "transport": to})


def resolved(say: Callable[[str], None] = print) -> Path:
    """
    The folder with Marquez's jar and all that it needs: below ``MARQUEZ_CACHE``, or below the user's ``.cache``.

    It is filled beside and then renamed, so a download that broke off is never used.

    :raises MarquezMissing: without Java; and if it is not there and Maven is not either, or can't get it.
    """
    _java()
    cache = _cache()
    jars = cache / f"marquez-{VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise MarquezMissing("no program mvn, which gets Marquez from Maven Central; install maven")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / ".marquez.lock"):
        if not jars.is_dir():
            say(f"getting Marquez {VERSION} from Maven Central into {jars} (once; about 160 files)")
            _download(maven, cache, jars)
    return jars


def _cache() -> Path:
    named = os.environ.get("MARQUEZ_CACHE")
    if named:
        return Path(named).resolve()
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir  # tests and the demo have taken HOME away
    except KeyError:
        raise MarquezMissing("this user has no home for Marquez; name a folder in MARQUEZ_CACHE") from None
    return Path(home, ".cache", "airflow-secure-provider")


def _download(maven: str, cache: Path, jars: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".marquez-", dir=cache) as name:
        work = Path(name)
        (work / "pom.xml").write_text(_POM.format(*_ARTIFACT), encoding="utf-8")
        # --update-snapshots asks again for what was not there the last time.
        command = [maven, "--batch-mode", "--no-transfer-progress", "--update-snapshots", _COPY]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={work / 'jars'}"]
        try:
            done = subprocess.run(
                command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DOWNLOAD_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise MarquezMissing(f"Maven did not get Marquez within {_DOWNLOAD_SECONDS} s") from None
        if done.returncode != 0:
            told = [line for line in done.stdout.decode(errors="replace").splitlines() if "[ERROR]" in line]
            kind = MarquezNotPublished if _NOT_THERE.search(" ".join(told)) else MarquezMissing
            raise kind(f"Maven can't get {':'.join(_ARTIFACT)}: {' '.join(told[:1])}")
        (work / "jars").rename(jars)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One download at a time; the next one finds it done."""
    with open(path, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _java() -> str:
    """:raises MarquezMissing: for none, and for one that is too old."""
    java = shutil.which("java")
    if java is None:
        raise MarquezMissing(f"no program java, which runs Marquez; install a Java {_JAVA} runtime")
    told = subprocess.run([java, "-version"], capture_output=True, timeout=60).stderr.decode(errors="replace")
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found is None or int(found[1]) < _JAVA:
        got = found[1] if found else "an unknown version"
        raise MarquezMissing(f"{java} is Java {got}, and Marquez {VERSION} needs {_JAVA} or later")
    return java


def _quote(part: str) -> str:
    return urllib.parse.quote(part, safe="")


def main() -> int:
    try:
        print(f"Marquez is in {resolved()}")
    except MarquezNotPublished as error:
        print(error)
        return _NOT_PUBLISHED
    except MarquezMissing as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
