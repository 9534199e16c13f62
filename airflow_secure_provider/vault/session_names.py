"""What an assumed AWS role is told of who assumes it."""

from __future__ import annotations

import hashlib
import re

_MOST = 64


def role_session_name(name: str) -> str:
    """As STS takes it: 2 to 64 letters, digits and ``_+=,.@-``; a name that is cut ends in a digest of the whole."""
    plain = re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", name)
    if len(plain) <= _MOST:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: _MOST - len(digest) - 1]}-{digest}"
