"""Vault's Transit engine as a keyring: the key never leaves Vault, and its audit log has a line for every unwrap.

The Transit key is a derived one (``derived=true``): each wrap is under a key of its own that Vault derives from the
context, so that a wrap can't be passed off for another keyset or version. The audit log shows the key's name in the path; and
the context too, where the mount is tuned with ``audit_non_hmac_request_keys=context``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError, KeyringError, KeyringUnavailable, TransientError
from ..vault.failures import vault_failure

PROVIDER = "vault-transit"
_PART = r"(?!\.)[A-Za-z0-9_.-]+"  # neither "." nor ".."
_KEY = re.compile(rf"(?P<mount>{_PART}(?:/{_PART})*)/keys/(?P<name>{_PART})")
_DATA_KEY_BITS = 512


class _NotUnwrapped(KeyringError):
    """Vault was asked, and says that key, context and ciphertext do not belong together."""


@dataclass(frozen=True, slots=True)
class TransitKeyring:
    """Wraps with ``transit/encrypt`` or ``transit/datakey``, unwraps with ``transit/decrypt``.

    :param key_id: the key's path in Vault, such as ``transit/keys/crm``.
    :param client: gives a logged-in hvac client: address, namespace, CA and login are its. Asked for once for each call.
    """

    key_id: str
    client: Callable[[], Any] = field(repr=False)
    provider: str = PROVIDER

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key_id):
            raise ConfigurationError(
                f"Transit key {self.key_id!r}: expected MOUNT/keys/NAME, such as transit/keys/crm"
            )

    def generate(self, context: dict[str, str]) -> tuple[bytes, bytes]:
        """A new data key of 64 bytes, made by Vault. :return: it, and it wrapped."""
        body = {"context": _encoded(context), "bits": _DATA_KEY_BITS}
        data = self._ask("datakey/plaintext", body)
        made = base64.b64decode(data["plaintext"])
        wrapped = str(data["ciphertext"]).encode()
        self._refuse_underived(wrapped, context)
        return made, wrapped

    def wrap(self, plaintext: bytes, context: dict[str, str]) -> bytes:
        body = {"plaintext": base64.b64encode(plaintext).decode(), "context": _encoded(context)}
        wrapped = str(self._ask("encrypt", body)["ciphertext"]).encode()
        self._refuse_underived(wrapped, context)
        return wrapped

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        """:raises KeyringError: if the data key was wrapped under another key or context, or Vault does not allow it."""
        body = {"ciphertext": wrapped.decode("ascii", "replace"), "context": _encoded(context)}
        return base64.b64decode(self._ask("decrypt", body)["plaintext"])

    def rewrap(self, wraps: Sequence[tuple[bytes, dict[str, str]]]) -> list[bytes]:
        """Under the newest version of the Transit key, all in one request."""
        batch = [
            {"ciphertext": wrapped.decode("ascii", "replace"), "context": _encoded(context)}
            for wrapped, context in wraps
        ]
        results = self._ask("rewrap", {"batch_input": batch})["batch_results"]
        failed = [each["error"] for each in results if each.get("error")]
        if failed or len(results) != len(wraps):
            raise KeyringError(
                f"Vault does not rewrap all of {len(wraps)} data keys with {self.key_id}: they were wrapped under another key "
                "or for another keyset, or under a version below its min_decryption_version"
            )
        return [str(each["ciphertext"]).encode() for each in results]

    def _refuse_underived(self, wrapped: bytes, context: dict[str, str]) -> None:
        """A key that is not derived ignores the context, and what is wrapped under it would be bound to nothing."""
        try:
            self.unwrap(wrapped, {**context, "secure-provider:probe": "another context"})
        except _NotUnwrapped:
            return  # and nothing else: who may not decrypt does not know
        raise KeyringError(
            f"Transit key {self.key_id} is not derived, so what it wraps would be bound to no keyset; make one that is: "
            f"vault write -f {self.key_id} derived=true"
        )

    def _ask(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        mount, _, name = self.key_id.rpartition("/keys/")
        path = f"{mount}/{action}/{name}"
        failure: KeyringError
        try:
            data: dict[str, Any] = self.client().adapter.post(f"/v1/{path}", json=body)["data"]
            return data
        except Exception as error:  # noqa: BLE001 (mapped: its text may quote what was sent)
            failure = _failure(error, path, self.key_id)
        raise failure


def _failure(error: Exception, path: str, key_id: str) -> KeyringError:
    from hvac.exceptions import InvalidRequest

    if isinstance(error, KeyringError):
        return error
    if getattr(error, "transient", False):  # the secrets backend's own denial
        return KeyringUnavailable(str(error))
    if isinstance(error, InvalidRequest):
        return _NotUnwrapped(
            f"Vault refused {path!r} (status 400): there is no such key, or the data key was wrapped under another key or "
            f"for another keyset, or under a version below the min_decryption_version of {key_id}"
        )
    mapped = vault_failure(
        error, path=path, url=str(getattr(error, "url", "") or "").partition("/v1/")[0] or "its url"
    )
    kind = KeyringUnavailable if isinstance(mapped, TransientError) else KeyringError
    return kind(str(mapped))


def _encoded(context: dict[str, str]) -> str:
    """As JSON, keys sorted, without spaces, ASCII; in base64, as Transit wants it."""
    canonical = json.dumps(context, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(canonical.encode()).decode()
