"""Source → decrypt → parse → check → protect → binary COPY (or an encrypted object) → authenticate → COMMIT → report.

Plaintext is never written to disk, and nothing is committed before the whole source has authenticated.
"""

from .bytes_sources import BytesSource, LocalFile, QueryAsCsv
from .checks import Options
from .from_api import HttpApi, Pagination
from .from_object import S3Source
from .from_objects import S3Objects
from .from_query import QuerySource
from .from_table import PostgresSource
from .landing import EncryptedObject, land
from .quarantine import RejectTo
from .reprotection import reprotect
from .required import Required
from .run import transfer
from .sources import Source
from .targets import Target
from .to_object import ObjectTarget
from .to_table import TableTarget

__all__ = [
    "BytesSource",
    "EncryptedObject",
    "HttpApi",
    "LocalFile",
    "ObjectTarget",
    "Options",
    "Pagination",
    "PostgresSource",
    "QueryAsCsv",
    "QuerySource",
    "RejectTo",
    "Required",
    "S3Objects",
    "S3Source",
    "Source",
    "TableTarget",
    "Target",
    "land",
    "reprotect",
    "transfer",
]
