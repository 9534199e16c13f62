"""KV secrets, and what is not there of them."""

from __future__ import annotations

import time
from typing import Any

from .. import leases
from ..errors import StoreError
from ._client import BackendClient


class Kv:
    """KV secrets as the hashicorp provider reads them, remembered for a moment in a task."""

    def __init__(self, client: BackendClient) -> None:
        self._client = client

    def read(self, secret_path: str) -> dict[str, Any] | None:
        """
        :return: None for what was never there.
        :raises StoreError: for a secret whose latest version was deleted or destroyed: it is not "not defined".
        """
        client = self._client
        key = (*client._login_key, str(client.mount_point), secret_path)
        remembers = leases.in_task() and client.own.cache_seconds > 0
        remembered = leases.KV.get(key) if remembers else None
        if remembered is not None and remembered[0] > time.monotonic():
            return remembered[1]
        found = self._read(secret_path)
        if found is not None and remembers:
            leases.KV[key] = (time.monotonic() + client.own.cache_seconds, found)
        else:
            leases.KV.pop(key, None)
        return found

    def _read(self, secret_path: str) -> dict[str, Any] | None:
        from hvac.exceptions import InvalidPath

        client = self._client
        mount, path = client._parse_secret_path(secret_path)
        gone = ""
        answer: Any = None
        try:
            if client.kv_engine_version == 1:
                answer = client._run_with_reauth(lambda each: each.secrets.kv.v1.read_secret(path, mount))
            else:
                answer = client._run_with_reauth(
                    lambda each: each.secrets.kv.v2.read_secret_version(
                        path, mount_point=mount, raise_on_deleted_version=True
                    )
                )
        except InvalidPath as error:
            gone = _gone(error)
            if not gone and error.errors:  # of a secret that is not there Vault has nothing to say
                raise
            if not gone:
                return None
        if gone:
            raise StoreError(
                f"the latest version of {mount}/{path} in Vault {gone}; write a new version or undelete it, or remove the "
                "secret with all its versions (`vault kv metadata delete`) if another store shall answer"
            )
        found: dict[str, Any] = answer["data"] if client.kv_engine_version == 1 else answer["data"]["data"]
        return found


def _gone(error: Any) -> str:
    """What a 404 tells of a version that was there."""
    body = getattr(error, "json", None)
    metadata = ((body or {}).get("data") or {}).get("metadata") or {}
    if metadata.get("destroyed"):
        return f"({metadata.get('version')}) was destroyed"
    if metadata.get("deletion_time"):
        return f"({metadata.get('version')}) was deleted"
    return ""
