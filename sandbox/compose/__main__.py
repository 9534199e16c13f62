"""``make up`` and ``make down``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from sandbox.compose.generated import generate
from sandbox.environment import REPOSITORY

FOLDER = REPOSITORY / ".compose"
_UP = """
Up. To stop it: make down. To remove all of it after that: rm -r .compose
  Airflow   http://127.0.0.1:8080   user admin, password in .compose/secrets/airflow-admin-password
  Marquez   http://127.0.0.1:3000   no login: for this machine only
Run the demo:
  docker compose --env-file .compose/env exec airflow-scheduler \\
    airflow dags trigger secure_customers --logical-date 2026-11-20T00:00:00+00:00
More: docs/howto/compose.md
"""


def main(arguments: list[str]) -> int:
    action = arguments[0] if arguments else ""
    if action not in ("up", "down", "generate"):
        return _stop("usage: python -m sandbox.compose up | down | generate")
    if os.getuid() == 0:
        return _stop(
            "run this as an ordinary user who may use Docker: the containers run as you, and not as root"
        )
    generate(FOLDER, os.getuid(), os.getgid())
    if action == "generate":
        print(f"generated what was missing in {FOLDER}")
        return 0
    problem = _problem()
    if problem:
        return _stop(problem)
    if action == "down":
        return _compose("down")
    # Built first: `up` would look for this image in a registry. --wait ends with an error if a service is not healthy.
    done = _compose("build", "--pull", "bootstrap") or _compose(
        "up", "--detach", "--wait", "--wait-timeout", "600"
    )
    if not done:
        print(_UP)
    return done


def _problem() -> str:
    """What keeps Docker from running it; empty if nothing does."""
    if shutil.which("docker") is None:
        return "docker is missing: install Docker Engine with its Compose plugin; without Docker there is `make demo KEEP=1`"
    if _quietly("docker", "compose", "version"):
        return "docker has no `compose`: install its Compose plugin"
    if _quietly("docker", "info"):
        return "the Docker engine does not answer: is it running, and may this user use it (group docker)?"
    return ""


def _quietly(*command: str) -> int:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode


def _compose(*arguments: str) -> int:
    command = ["docker", "compose", "--env-file", str(FOLDER / "env"), *arguments]
    return subprocess.run(command, cwd=REPOSITORY).returncode


def _stop(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
