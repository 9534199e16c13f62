"""A CSV of protected cells back to values, as a stream."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv

from ..crypto.keyset import Keyset
from ..errors import ContractError
from ..model import ColumnRule
from .reversible import ColumnCipher


def reveal_batches(
    batches: Any, columns: Sequence[str], rules: Sequence[ColumnRule], keyset: Keyset, where: str
) -> Any:
    """Yield record batches whose encrypted and tokenized columns are revealed.

    :param batches: of text columns.
    :param columns: their names.
    :raises ContractError: if a column is not in the contract: then nobody knows what it holds.
    :raises DecryptionError: and no row of the batch is given.
    """
    known = {rule.name: rule for rule in rules}
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise ContractError(
            f"{where}: column {unknown[0]!r} is not in the contract; name its dataset, or add the column"
        )
    ciphers = {
        name: ColumnCipher(known[name], keyset) for name in columns if known[name].protection.reversible
    }
    for batch in batches:
        arrays = [
            ciphers[name].reveal(batch.column(index)) if name in ciphers else batch.column(index)
            for index, name in enumerate(columns)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def write_csv(batches: Any, columns: Sequence[str], out: Any) -> int:
    """Write a header and the batches; null is empty, "" is quoted. Nothing is written before the first batch is there.

    :return: the number of rows.
    """
    schema = pa.schema([(name, pa.string()) for name in columns])
    rows = 0
    first = next(batches, None)
    with csv.CSVWriter(out, schema) as writer:
        for batch in itertools.chain([first] if first is not None else [], batches):
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
    return rows
