"""Between Arrow arrays and ragged buffers. Nulls are left out on the way in and put back on the way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..crypto.ragged import SLACK, Ragged

_INT32_MAX = 2**31 - 1


def expanded(array: Any) -> Any:
    """A dictionary array as the array it stands for, whose nulls may lie in the indices and in the dictionary."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def by_chunk(function: Callable[[Any, Sequence[Any]], Any], column: Any, beside: Sequence[Any]) -> Any:
    """Apply a function of a column (and those beside it) to each chunk of a chunked one."""
    whole = [each.combine_chunks() if isinstance(each, pa.ChunkedArray) else each for each in beside]
    start, made = 0, []
    for chunk in column.chunks or [pa.array([], column.type)]:
        made.append(function(chunk, [each.slice(start, len(chunk)) for each in whole]))
        start += len(chunk)
    return pa.chunked_array(made)


def to_ragged(array: Any) -> Ragged:
    """The non-null values of a string or binary array of any layout but a dictionary, as bytes (text in UTF-8)."""
    kind = array.type
    if kind in (pa.string(), pa.binary()):
        offset_type: Any = np.int32
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        offset_type = np.int64
    else:
        array, offset_type = array.cast(pa.large_binary()), np.int64
    if array.null_count:
        array = array.drop_null()
    count = len(array)
    if not count:
        return Ragged.packed(np.zeros(0, dtype=np.int64))
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=offset_type)[array.offset : array.offset + count + 1].astype(
        np.int64
    )
    first, last = int(offsets[0]), int(offsets[-1])
    if data_buffer is not None and data_buffer.size >= last + SLACK:  # no need for a copy with room behind it
        data = np.frombuffer(data_buffer, dtype=np.uint8)
        return Ragged(data[first:], offsets[:-1] - first, np.diff(offsets))
    data = np.zeros(last - first + SLACK, dtype=np.uint8)
    if last > first:
        data[: last - first] = np.frombuffer(data_buffer, dtype=np.uint8)[first:last]
    return Ragged(data, offsets[:-1] - first, np.diff(offsets))


def from_ragged(rows: Ragged, like: Any, *, text: bool) -> Any:
    """A string or binary array of these rows (which must be packed), with the nulls of *like*.

    :param rows: one row for every non-null value of *like*.
    """
    lengths = rows.lengths
    if like.null_count:
        lengths = np.zeros(len(like), dtype=np.int64)
        lengths[pc.is_valid(like).to_numpy(zero_copy_only=False)] = rows.lengths
    offsets = np.zeros(len(like) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    large = total > _INT32_MAX
    if text:
        kind = pa.large_string() if large else pa.string()
    else:
        kind = pa.large_binary() if large else pa.binary()
    validity = pc.is_valid(like).buffers()[1] if like.null_count else None
    offset_buffer = pa.py_buffer(offsets if large else offsets.astype(np.int32))
    data = pa.py_buffer(rows.data[:total])
    return pa.Array.from_buffers(kind, len(like), [validity, offset_buffer, data], like.null_count)
