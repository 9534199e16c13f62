"""The values beside a cell to which it is bound, as one string of bytes a row. ``docs/formats/cells.md`` fixes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..crypto.ragged import Ragged
from .columns import to_ragged

_HEAD_BYTES = 5  # 00 and zeros for null; else 01 and the length of the text, 4 bytes, big endian


def bindings(columns: Sequence[Any]) -> Any:
    """For every row the texts of the columns, each behind its head, one after the other.

    No two different rows of texts and nulls give the same bytes.

    :param columns: canonical text, of the same length.
    :return: a binary array without nulls.
    """
    parts = []
    for column in columns:
        text = column.cast(pa.large_binary())
        parts += [_heads(text), text.fill_null(b"")]
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))


def bound_rows(columns: Sequence[Any], of: Any) -> Ragged:
    """:func:`bindings` of the rows in which *of* is not null."""
    joined = bindings(columns)
    return to_ragged(joined.filter(pc.is_valid(of)) if of.null_count else joined)


def _heads(text: Any) -> Any:
    heads = np.zeros((len(text), _HEAD_BYTES), dtype=np.uint8)
    valid = pc.is_valid(text).to_numpy(zero_copy_only=False)
    lengths = pc.binary_length(text).fill_null(0).to_numpy(zero_copy_only=False)
    heads[:, 0] = valid
    heads[:, 1:] = lengths.astype(">u4").view(np.uint8).reshape(-1, 4)
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(_HEAD_BYTES), len(text), [None, pa.py_buffer(heads.reshape(-1))]
    )
    return fixed.cast(pa.large_binary())
