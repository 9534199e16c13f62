"""What Marquez needs is had once and whole, or it is said what is missing. That it works: ``tests/integration/test_marquez.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.marquez import VERSION, MarquezMissing, resolved

Program = Callable[[str, str], None]
JAVA_17 = "echo 'openjdk version \"17.0.1\" 2021-10-19' >&2"
DOWNLOADS = (
    'for a; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done; mkdir "$d"; echo half >"$d/x.jar"'
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The only programs there are."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("MARQUEZ_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()

    def write(name: str, script: str) -> None:
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        file.chmod(0o700)

    return write


def test_what_is_missing(program: Program) -> None:
    with pytest.raises(MarquezMissing, match="no program java"):
        resolved()
    for told, got in (
        ('version "1.8.0_392"', "8"),
        ('version "11.0.2"', "11"),
        ("nonsense", "an unknown version"),
    ):
        program("java", f"echo '{told}' >&2")
        with pytest.raises(MarquezMissing, match=f"is Java {got}, and .* needs 17"):
            resolved()
    program("java", JAVA_17)
    with pytest.raises(MarquezMissing, match=r"no program mvn.*install maven"):
        resolved()


def test_half_a_download_is_never_used(program: Program, tmp_path: Path) -> None:
    program("java", JAVA_17)
    program("mvn", f"{DOWNLOADS}; echo '[ERROR] no such artifact'; exit 1")
    told: list[str] = []
    with pytest.raises(MarquezMissing, match=r"can't get io\.github\.marquezproject.*no such artifact"):
        resolved(told.append)
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [".marquez.lock"]
    program("mvn", DOWNLOADS)
    jars = resolved(told.append)
    assert (jars.name, [each.name for each in jars.iterdir()]) == (f"marquez-{VERSION}", ["x.jar"])
    assert len(told) == 2
    program("mvn", "exit 1")  # not asked again
    assert resolved(told.append) == jars
    assert len(told) == 2
