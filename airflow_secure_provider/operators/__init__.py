"""The operators that DAGs import.

They load on first use, so that a DAG file that names one of them does not pay for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .encrypt_to_s3 import EncryptToS3Operator
    from .encrypted_s3_to_postgres import EncryptedS3ToPostgresOperator
    from .http_to_encrypted_s3 import HttpToEncryptedS3Operator
    from .mask_columns import MaskColumnsOperator
    from .reprotect_columns import ReprotectColumnsOperator
    from .reveal_columns import RevealColumnsOperator
    from .vault_ready import VaultReadyOperator, VaultReadySensor

__all__ = [
    "EncryptToS3Operator",
    "EncryptedS3ToPostgresOperator",
    "HttpToEncryptedS3Operator",
    "MaskColumnsOperator",
    "ReprotectColumnsOperator",
    "RevealColumnsOperator",
    "VaultReadyOperator",
    "VaultReadySensor",
]

_WHERE = {
    "EncryptToS3Operator": "encrypt_to_s3",
    "EncryptedS3ToPostgresOperator": "encrypted_s3_to_postgres",
    "HttpToEncryptedS3Operator": "http_to_encrypted_s3",
    "MaskColumnsOperator": "mask_columns",
    "ReprotectColumnsOperator": "reprotect_columns",
    "RevealColumnsOperator": "reveal_columns",
    "VaultReadyOperator": "vault_ready",
    "VaultReadySensor": "vault_ready",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
