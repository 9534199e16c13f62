"""Secrets, certificates and folders of the compose file, below ``.compose/``: made once, for this very machine and user.

A file that is there is never changed. All are of mode 0600, below folders of mode 0700; containers run as the user who owns
them. Nothing in the repository has a password.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from sandbox.ca import Authority

FOLDERS = (
    "secrets",
    "admin",
    "airflow",
    "state",
    "data",
    *(f"data/{name}" for name in ("postgres", "vault", "s3", "lineage", "leases", "airflow-logs")),
)
SERVERS = ("postgres", "vault", "s3")
CA_IN_CONTAINERS = "/run/secrets/ca.pem"

_MARQUEZ = """\
server:
  applicationConnectors: [{{type: http, port: 5000, httpCompliance: RFC7230_LEGACY}}]
  adminConnectors: [{{type: http, port: 5001}}]
db:
  driverClass: org.postgresql.Driver
  url: jdbc:postgresql://postgres:5432/marquez?sslmode=verify-full&sslrootcert={ca}
  user: marquez
  password: {password}
migrateOnStartup: true
graphql: {{enabled: false}}
search: {{enabled: false}}
logging: {{level: INFO, appenders: [{{type: console}}]}}
"""


def generate(folder: Path, uid: int, gid: int) -> None:
    """Make what is missing below *folder*.

    :param uid: whom the containers run as: the owner of the files.
    """
    for each in (".", *FOLDERS):
        (folder / each).mkdir(parents=True, exist_ok=True, mode=0o700)
    _certificates(folder / "secrets")
    made = folder / "secrets"
    for name in ("postgres", "airflow-db", "marquez-db", "airflow-admin"):
        _once(made / f"{name}-password", lambda: secrets.token_urlsafe(24))
    _once(made / "s3-access-key", lambda: f"lake{secrets.token_hex(8)}")
    _once(made / "s3-secret-key", lambda: secrets.token_urlsafe(30))
    _once(made / "fernet-key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    _once(made / "api-secret-key", lambda: secrets.token_urlsafe(32))
    _once(made / "jwt-secret", lambda: secrets.token_urlsafe(48))

    def said(name: str) -> str:
        return (made / name).read_text(encoding="utf-8")

    database = f"airflow:{said('airflow-db-password')}@postgres:5432/airflow"
    verified = f"sslmode=verify-full&sslrootcert={CA_IN_CONTAINERS}"
    _once(made / "airflow-db-uri", lambda: f"postgresql+psycopg2://{database}?{verified}")
    _once(made / "airflow-db-uri-async", lambda: f"postgresql+psycopg://{database}?{verified}")
    _once(
        made / "marquez.yml",
        lambda: _MARQUEZ.format(ca=CA_IN_CONTAINERS, password=said("marquez-db-password")),
    )
    # This server takes its key from its environment only.
    _once(
        made / "s3.env",
        lambda: (
            f"ROOT_ACCESS_KEY_ID={said('s3-access-key')}\nROOT_SECRET_ACCESS_KEY={said('s3-secret-key')}\n"
        ),
    )
    _once(folder / "admin" / "passwords.json", lambda: json.dumps({"admin": said("airflow-admin-password")}))
    _once(folder / "env", lambda: f"RUN_AS_UID={uid}\nRUN_AS_GID={gid}\n")


def _certificates(folder: Path) -> None:
    """Of one root, whose key is not kept. All of them, or none: others would not belong to this root."""
    wanted = ["ca.pem", *(f"{name}.{kind}" for name in SERVERS for kind in ("pem", "key"))]
    there = [name for name in wanted if (folder / name).exists()]
    if there and there != wanted:
        missing = next(name for name in wanted if name not in there)
        raise FileNotFoundError(
            f"{folder} has {there[0]} and no {missing}; remove {', '.join(there)}, and all are made anew"
        )
    if not there:
        authority = Authority(folder)
        for name in SERVERS:
            authority.server(name, name, "localhost", "127.0.0.1")
        for name in wanted:
            (folder / name).chmod(0o600)


def _once(path: Path, make: Callable[[], str]) -> None:
    if path.exists():
        return
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with open(
        os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(make())
    unfinished.rename(path)
