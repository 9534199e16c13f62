"""An AppRole's secret id out of a file, or out of a response-wrapping token that was delivered in a file.

A wrapping token works once, and Airflow logs in from many processes. So the first of them unwraps, under a lock, and
keeps the secret id in a file that only its user can read; the others read that. It belongs on a memory file system.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StoreError

if TYPE_CHECKING:
    import hvac

_CREATED_BY = re.compile(r"auth/.+/role/[^/]+/secret-id")


def read_secret_id(path: str) -> str:
    """:raises OSError: if it can't be read."""
    return Path(path).read_text(encoding="utf-8").strip()


def unwrapped_secret_id(wrapping_token_path: str, path: str, client: Callable[[str], hvac.Client]) -> str:
    """
    :param client: one that asks with the given token.
    :raises StoreError: if the token was used before, or does not wrap a secret id: then somebody may have opened it.
    """
    token_file, kept = Path(wrapping_token_path), Path(path)
    if _is_newer(kept, token_file):
        return read_secret_id(path)
    kept.parent.mkdir(
        parents=True, exist_ok=True, mode=0o700
    )  # a memory file system is empty after a restart
    with open(f"{path}.lock", "a", encoding="utf-8") as lock:
        os.chmod(lock.fileno(), 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_newer(kept, token_file):
            _keep(kept, lambda: _unwrapped(token_file, kept, client))
    return read_secret_id(path)


def _is_newer(kept: Path, token_file: Path) -> bool:
    """A wrapping token that came later holds a new secret id. Without the file, what is kept is all there is."""
    try:
        ours = kept.stat().st_mtime_ns
    except FileNotFoundError:
        return False
    try:
        return ours >= token_file.stat().st_mtime_ns
    except FileNotFoundError:
        return True


def _unwrapped(token_file: Path, kept: Path, client: Callable[[str], hvac.Client]) -> str:
    from hvac.exceptions import Forbidden, InvalidRequest

    token = _token_in(token_file.read_text(encoding="utf-8"))
    if not token:
        raise StoreError(
            f"{str(token_file)!r} holds no wrapping token (yet): expected the token, or the JSON of the vault command"
        )
    asking = client(token)
    stolen = ""
    answer: Any = None
    try:
        # Asked first: it does not use the token up, and tells whether somebody put another one in its place.
        about = asking.adapter.post("/v1/sys/wrapping/lookup", json={"token": asking.token})["data"]
        if not _CREATED_BY.fullmatch(str(about.get("creation_path", ""))):
            stolen = "does not wrap an AppRole's secret id"
        else:
            answer = asking.adapter.post("/v1/sys/wrapping/unwrap")
    except (InvalidRequest, Forbidden):
        stolen = "was used before, or has expired"
    if stolen:
        raise StoreError(
            f"the wrapping token in {str(token_file)!r} {stolen}. If {str(kept)!r} was lost, as in a restart, deliver a new one. "
            "Otherwise, unless you know who used it, take the secret id for stolen: destroy it in Vault (auth/approle/role/NAME/secret-id/destroy), look for its use in the audit log, and "
            "deliver a new one"
        )
    return str(answer["data"]["secret_id"])


def _token_in(text: str) -> str:
    """The file holds the token, or the JSON that ``vault write -wrap-ttl -format=json`` prints."""
    text = text.strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
            return str((found.get("wrap_info") or found).get("token", ""))
        except (ValueError, AttributeError):
            return ""
    return text if re.fullmatch(r"[A-Za-z0-9_.-]{16,}", text) else ""


def _keep(path: Path, secret_id: Callable[[], str]) -> None:
    """:param secret_id: asked once there is a file to keep it in: the token works once."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret_id())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
