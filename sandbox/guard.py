"""The parent of one server process: it outlives the server, never the one who started it.

Run as a script: ``python -I -S guard.py PARENT_PID STOP_SIGNAL GRACE_SECONDS USER COMMAND…``.

1. It adopts whatever the server leaves behind (Linux child subreaper), daemons and new sessions included.
2. Told to stop (TERM, INT, QUIT, HUP), it passes the signal to the server's process group.
   When the one who started it is gone, however that came about, it sends STOP_SIGNAL by itself.
3. Once the server has ended, or GRACE_SECONDS after the signal, it kills all that is left and ends.

Parent death is seen by polling the parent's pid: ``PR_SET_PDEATHSIG`` fires when the *thread* that forked
ends, and servers are started from short-lived threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
_WAITED_FOR = _STOP_SIGNALS | {signal.SIGCHLD}
_POLL_SECONDS = 0.2
_KILL_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    parent_pid, stop_signal, grace_seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server_pid = _spawn(libc, arguments[3], arguments[4:])

    deadline: float | None = None
    while (status := _reap(server_pid)) is None:
        now = time.monotonic()
        if deadline is None and os.getppid() != parent_pid:
            deadline = now + grace_seconds
            _signal_group(server_pid, stop_signal)
        if deadline is not None and now >= deadline:
            break
        received = signal.sigtimedwait(_WAITED_FOR, _POLL_SECONDS)
        if received is not None and received.si_signo in _STOP_SIGNALS:
            deadline = deadline or time.monotonic() + grace_seconds
            _signal_group(server_pid, received.si_signo)
    _kill_descendants()
    if status is None:
        return 128 + signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def descendants(pid: int) -> list[list[int]]:
    """The living children of ``pid``, then their children, and so on."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", errors="replace") as file:
                state, parent = (
                    file.read().rpartition(")")[2].split()[:2]
                )  # the name, in brackets, may hold anything
                if state not in "ZX":
                    children.setdefault(int(parent), []).append(int(entry))
    generations = []
    generation = children.get(pid, [])
    while generation:
        generations.append(generation)
        generation = [below for each in generation for below in children.get(each, [])]
    return generations


def _spawn(libc: ctypes.CDLL, user: str, command: list[str]) -> int:
    guard_pid = os.getpid()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # whichever of the two comes first
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        if user:
            os.setgroups([])
            os.setgid(int(user))
            os.setuid(int(user))
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after setuid, which would reset it
        if os.getppid() == guard_pid:
            os.execvp(command[0], command)  # noqa: S606 - no shell wanted
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)


def _reap(server_pid: int) -> int | None:
    """Collect ended children; return the server's wait status if it was among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == server_pid:
                found = status
    return found


def _signal_group(server_pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server_pid, number)


def _kill_descendants() -> None:
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        for pid in (pid for generation in descendants(os.getpid()) for pid in generation):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
