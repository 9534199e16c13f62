"""Every error that this package raises on purpose.

::

    SecureProviderError
    ├── ConfigurationError         what the author or the platform team wrote can't be carried out
    │   └── ContractError          unclassified column, protection too weak, class requirement not met
    ├── FormatError                bytes or rows break their format
    ├── DecryptionError            does not authenticate
    ├── KeyringError               the key service refused
    ├── StoreError                 the object store or database refused
    │   └── LoadError              the target refused rows
    └── TransientError             a retry may help
        ├── KeyringUnavailable     (also KeyringError)
        └── StoreUnavailable       (also StoreError)

A message says what failed, where, what was got and expected, and what to do about it.
It names columns, key ids, byte offsets and counts; never a value, a key, a token or a DSN.
"""

from __future__ import annotations

from typing import NoReturn


class SecureProviderError(Exception):
    """The root of the tree."""


class ConfigurationError(SecureProviderError):
    """What was written in the DAG, the contract or the configuration can't be carried out."""


class ContractError(ConfigurationError):
    """A column, a source or a target does not meet what its contract and class require."""


class FormatError(SecureProviderError):
    """Bytes or rows break their format."""


class DecryptionError(SecureProviderError):
    """A ciphertext does not authenticate, or is not what it says it is."""


class KeyringError(SecureProviderError):
    """The key service refused to wrap or unwrap a data key."""


class StoreError(SecureProviderError):
    """The object store or the database refused."""


class LoadError(StoreError):
    """The target refused rows; nothing was committed."""


class TransientError(SecureProviderError):
    """The same call may succeed later."""


class KeyringUnavailable(TransientError, KeyringError):
    """The key service could not be reached, or asked to be called again later."""


class StoreUnavailable(TransientError, StoreError):
    """The store could not be reached, or the connection to it broke."""


def raise_alone(error: Exception) -> NoReturn:
    """Raise an error with neither cause nor context.

    For the end of a ``with`` block: what is raised there gets the block's own exception as its context, whatever
    ``from None`` says, and with it the row that a driver quoted.
    """
    try:
        raise error
    except type(error):
        error.__cause__ = error.__context__ = None
        raise
