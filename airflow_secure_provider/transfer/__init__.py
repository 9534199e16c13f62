"""Source → decrypt → parse → check → protect → binary COPY → authenticate → COMMIT → report.

Plaintext is never written to disk, and nothing is committed before the whole source has authenticated.
"""

from .checks import Options, Target
from .reprotection import reprotect
from .run import transfer
from .sources import PostgresSource, S3Source, Source

__all__ = ["Options", "PostgresSource", "S3Source", "Source", "Target", "reprotect", "transfer"]
