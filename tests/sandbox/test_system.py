"""``scripts/system.sh``: what is there is left alone, what is missing is installed or named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sandbox.environment import REPOSITORY

TOOLS = ("sh", "sed", "head")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(
            next(path for path in (Path("/usr/bin", name), Path("/bin", name)) if path.exists())
        )
    write(folder, "apt-get", f'echo "$@" >>{tmp_path}/apt')
    write(folder, "apt-cache", "exit 0")
    return folder


def write(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o700)


def run(programs: Path, *names: str, user: int = 0) -> tuple[int, str]:
    write(programs, "id", f"echo {user}")
    command = ["sh", str(REPOSITORY / "scripts" / "system.sh"), *names]
    done = subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, timeout=30)
    return done.returncode, done.stderr.decode()


def asked_of_apt(programs: Path) -> str:
    file = programs.parent / "apt"
    return file.read_text() if file.exists() else ""


def test_what_is_there_is_left(programs: Path) -> None:
    write(programs, "java", "echo 'openjdk version \"21.0.2\"' >&2")
    for name in ("mvn", "chromium"):
        write(programs, name, "exit 0")
    assert run(programs, "java", "chromium", user=1000) == (0, "")
    assert asked_of_apt(programs) == ""


def test_what_is_missing_is_installed(programs: Path) -> None:
    write(programs, "java", "echo 'openjdk version \"11.0.2\"' >&2")  # too old
    assert run(programs, "java", "chromium") == (0, "installing openjdk-17-jre-headless maven chromium\n")
    installed = asked_of_apt(programs).splitlines()[-1]
    assert installed.endswith("openjdk-17-jre-headless maven chromium")


def test_who_may_not_is_told(programs: Path) -> None:
    status, told = run(programs, "java", user=1000)
    assert status == 1
    assert "can't install it: Debian's openjdk-17-jre-headless maven" in told
    write(programs, "sudo", 'shift; exec "$@"')
    write(programs, "true", "exit 0")
    assert run(programs, "java", user=1000)[0] == 0
    assert "openjdk-17-jre-headless maven" in asked_of_apt(programs)
    assert run(programs, "jawa")[0] == 2
