"""Whether bytes are UTF-8, at the speed of memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def is_utf8(data: bytes) -> bool:
    offsets = np.array([0, len(data)], dtype=np.int64)
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
