"""Watches S3: what botocore asks of it, as S3Hook does and all that is made of boto3."""

from __future__ import annotations

import logging
from typing import Any

import wrapt

from ...model import Evidence
from ...stores.s3 import observed
from ...stores.s3_writing import connection_of
from ...stores.tls import transport_of
from ..observations import OBSERVED
from .harmless import harmless

log = logging.getLogger(__name__)

# Whose answers say how the object that they name is encrypted.
_TELLING = frozenset(
    {"GetObject", "HeadObject", "PutObject", "CopyObject", "CreateMultipartUpload", "CompleteMultipartUpload"}
)
_MAKING = frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload"})
_CONTEXT = "secure_provider"


def watch_s3() -> None:
    """From now on in this process and its forks, once the task imports botocore."""
    wrapt.register_post_import_hook(_watch_handlers, "botocore.handlers")


@harmless
def _watch_handlers(handlers: Any) -> None:
    # Every session that is made from now on has them.
    handlers.BUILTIN_HANDLERS += [
        ("before-parameter-build.s3", _remember_names),
        ("after-call.s3", _look_at_answer),
    ]


def _remember_names(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_CONTEXT] = params.get("Bucket"), params.get("Key") or params.get("Prefix")


def _look_at_answer(http_response: Any, parsed: Any, model: Any, context: Any, **_: Any) -> None:
    try:
        bucket, key = (context or {}).get(_CONTEXT) or (None, None)
        if not isinstance(bucket, str):
            return
        body = parsed.get("Body") if isinstance(parsed, dict) else None
        raw = getattr(getattr(body, "_raw_stream", None), "connection", None)
        in_transit = transport_of(raw or connection_of(http_response))
        name = key if isinstance(key, str) else ""
        if in_transit.evidence is not Evidence.UNKNOWN:
            OBSERVED.travelled(f"s3://{bucket}", name, in_transit)
        if model.name in _TELLING and name and http_response.status_code < 300:
            OBSERVED.stored(f"s3://{bucket}", name, observed(parsed))
            if model.name in _MAKING:
                OBSERVED.wrote(f"s3://{bucket}", name)
    except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
        log.debug("an answer of S3 was not looked at: %s", type(error).__name__)
