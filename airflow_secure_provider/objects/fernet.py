"""Fernet files, as many a tutorial writes them: read whole, since nothing in them can be checked before their end."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import suppress

from ..errors import ConfigurationError, DecryptionError, FormatError
from ..model import AtRest, Evidence
from .source import Counted

log = logging.getLogger(__name__)
MAX_BYTES = 64 * 1024 * 1024


class FernetStream:
    """
    :param keys: any of them may have encrypted it; each in Fernet's own form, base64 of 32 bytes.
    :raises FormatError: for one that is larger than :data:`MAX_BYTES`.
    :raises DecryptionError: if it does not authenticate under any key.
    """

    def __init__(self, body: Counted, keys: Sequence[str]) -> None:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet

        if body.total > MAX_BYTES:
            raise FormatError(
                f"{body.where} is a Fernet file of {body.total:,} bytes, which must be held in memory whole; up to "
                f"{MAX_BYTES:,} are read: write it with the AWS Encryption SDK, which streams"
            )
        try:
            cipher = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            cipher = None
        if cipher is None:
            raise ConfigurationError(f"{body.where}: a Fernet key is the base64 of 32 bytes, URL-safe")
        log.warning(
            "%s is a Fernet file: it is held in memory whole, and says nothing of what it is; better write it with the AWS "
            "Encryption SDK",
            body.where,
        )
        plain = None
        with suppress(InvalidToken):
            plain = cipher.decrypt(body.read(body.total))
        if plain is None:
            raise DecryptionError(
                f"{body.where} does not authenticate under any of the {len(keys)} Fernet keys: it was altered, or the key is "
                "another one"
            )
        self._body = body
        self._plain = io.BytesIO(plain)

    @property
    def at_rest(self) -> AtRest:
        return AtRest("client-side", "Fernet (AES-128-CBC, HMAC-SHA256)", "local", None, Evidence.OBSERVED)

    def read(self, size: int, /) -> bytes:
        return self._plain.read(size)

    def finish(self) -> None:
        self._body.expect_end()
