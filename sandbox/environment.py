"""What every sandbox server needs: a clean environment, a port, a short path, and to be gone at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

REPOSITORY = Path(__file__).resolve().parent.parent
NOBODY = 65534  # user and group for servers that refuse root

# What a caller's shell may hold and a server must not see: services, accounts, trust, proxies, interpreters.
_FOREIGN = re.compile(
    r"^(AWS|BOTO|MOTO|S3|KMS|VAULT|BAO|AIRFLOW|OPENLINEAGE|PYTHON|XDG|LC)(_.*)?$"
    r"|^(PG|PYTHON|OPENLINEAGE)[A-Z_]+$"
    r"|^(LANG|LANGUAGE|VIRTUAL_ENV|TMP|TEMP|TMPDIR|HOME)$"
    r"|(^|_)(CA|CAINFO|CERT|CERTS|SSL)(_|$)|^SSLKEYLOGFILE$"
    r"|(^|_)PROXY$",
    re.IGNORECASE,
)
_LONGEST_SHORT_PATH = 60  # a unix socket's path holds 107 bytes, and its file name comes on top
_SHORT_PREFIX = "asp-"
_ABANDONED_AFTER_SECONDS = 60.0  # younger ones may not have taken their lock yet
_PRIVATE_DIRECTORY = stat.S_IFDIR | 0o700
_LOG_TAIL_LINES = 30


def is_foreign(name: str) -> bool:
    """Whether the environment variable must not reach a sandbox server or a test."""
    return _FOREIGN.search(name) is not None


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """
    The caller's environment without accounts, trust stores, proxies and interpreter settings.

    :param home: becomes HOME; made if missing, with ``tmp`` below it as TMPDIR.
    :param extra: set last, so it may bring back what was dropped.
    """
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not is_foreign(name)}
    interpreter = str(Path(sys.executable).parent)
    search_path = [
        part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part != interpreter
    ]
    loopback = "127.0.0.1,localhost"
    return {
        **kept,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        "PATH": os.pathsep.join([interpreter, *search_path]),
        "AWS_EC2_METADATA_DISABLED": "true",
        **extra,
    }


def isolate_this_process(home: Path, **extra: str) -> None:
    """Give this very process a clean environment, before it imports what reads it (Airflow, boto3, requests)."""
    kept = {name: os.environ[name] for name in ("PGBIN", "TMPDIR", "TERM", "COLUMNS") if name in os.environ}
    environment = clean_environment(home, **extra)
    environment.pop("TMPDIR", None)
    os.environ.clear()
    os.environ.update(environment | kept)


def free_port() -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """
    A private directory with a path short enough for unix sockets, removed at the end.

    One that a killed process left behind is removed by the next call: its lock has gone with its owner.
    """
    base = _short_base()
    _remove_abandoned(base)
    path = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir=base))
    try:
        with open(path / ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def unwind_on_signals() -> Iterator[None]:
    """
    Turn SIGINT, SIGTERM and SIGHUP into an exception, so that every ``with`` above cleans up.

    After the first one the rest are ignored until the end: cleaning up is bounded in time.
    SIGINT raises KeyboardInterrupt, the others SystemExit with the shell's 128 + number.
    Works in the main thread only, as Python's signal handlers do. Under nohup SIGHUP stays ignored.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def unwind(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    previous = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class ProcessError(RuntimeError):
    """A sandbox process ended too early or was not ready in time; the message ends with its log."""


class Process:
    """
    One server and all its descendants, under a guard (:mod:`sandbox.guard`) that ends when its starter does.

    :param log: standard output and error are appended to it.
    :param user: numeric user and group to run as; only root can ask for it.
    :param stop_signal: what asks this server to end; it has ``grace_seconds`` until it is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        directory: Path | None = None,
        user: int | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 5.0,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.environment = dict(environment)
        self.directory = directory
        self.user = user
        self.stop_signal = stop_signal
        self.grace_seconds = grace_seconds
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
        settings = [
            os.getpid(),
            int(self.stop_signal),
            self.grace_seconds,
            "" if self.user is None else self.user,
        ]
        with open(self.log, "ab") as log:
            self._guard = subprocess.Popen(
                [*guard, *map(str, settings), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,  # a terminal's Ctrl-C reaches the starter only
            )
        return self

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    @property
    def pid(self) -> int | None:
        """The guard's pid; the server is its child."""
        return self._guard.pid if self._guard is not None else None

    def wait_until_ready(self, is_ready: Callable[[], bool], deadline_seconds: float = 30.0) -> None:
        """Call ``is_ready`` until it returns true; :class:`ProcessError` when that can't happen or takes too long."""
        deadline = time.monotonic() + deadline_seconds
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name} was not ready after {deadline_seconds:g} s; {self.log_tail()}"
                )
            time.sleep(0.02)

    def check(self) -> None:
        """Raise :class:`ProcessError` unless the process is running."""
        if self._guard is None:
            raise ProcessError(f"{self.name} is not running; {self.log_tail()}")
        if self._guard.poll() is not None:
            raise ProcessError(
                f"{self.name} ended with exit status {self._guard.returncode}; {self.log_tail()}"
            )

    def wait(self, timeout_seconds: float) -> None:
        """Wait for a command that ends by itself; :class:`ProcessError` unless it succeeds in time."""
        assert self._guard is not None
        try:
            self._guard.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self.name} took more than {timeout_seconds:g} s; {self.log_tail()}"
            ) from None
        if self._guard.returncode:
            self.check()

    def ask_to_stop(self, stop_signal: signal.Signals | None = None) -> None:
        """Begin what :meth:`stop` completes, so that several can stop at the same time."""
        if self._guard is not None:
            self._guard.send_signal(stop_signal or self.stop_signal)

    def stop(self, stop_signal: signal.Signals | None = None) -> None:
        """End the server and everything it started; nothing happens if it has ended already."""
        if self._guard is None:
            return
        longest = self.grace_seconds + 15.0
        try:
            self.ask_to_stop(stop_signal)
            self._guard.wait(longest)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
            raise ProcessError(f"{self.name} could not be stopped; {self.log_tail()}") from None
        except BaseException:  # an interrupt; the guard carries on with what it was told
            self._guard.wait(longest)
            raise
        self._guard = None

    def log_tail(self) -> str:
        """The end of the log, as the second half of an error message."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = text.rstrip().splitlines()[-_LOG_TAIL_LINES:]
        return f"the end of {self.log}:\n" + ("\n".join(f"    {line}" for line in lines) or "    (empty)")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _short_base() -> Path:
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - what is made there is private
        base = Path(name)
        if len(os.fsencode(base)) > _LONGEST_SHORT_PATH or not os.access(base, os.W_OK | os.X_OK):
            continue
        if os.geteuid() != 0 or all(each.stat().st_mode & stat.S_IXOTH for each in (base, *base.parents)):
            return base  # what root makes may have to be handed to nobody, who must get there
    raise RuntimeError("no writable temporary directory with a short path; set TMPDIR to one, such as /tmp")


def _remove_abandoned(base: Path) -> None:
    for path in base.glob(f"{_SHORT_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            # In /tmp a name may be anyone's: only our own, private directories; never a link, never a pipe.
            if status.st_mode != _PRIVATE_DIRECTORY or status.st_uid not in _our_users():
                continue
            if time.time() - status.st_mtime < _ABANDONED_AFTER_SECONDS:
                continue
            with open(os.open(path / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)


def _our_users() -> set[int]:
    return {0, NOBODY} if os.geteuid() == 0 else {os.geteuid()}
