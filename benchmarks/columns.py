"""Column protection against the best loop one would write, Arrow in and Arrow out, on one thread."""

from __future__ import annotations

import importlib.metadata
import io
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.cmac import CMAC
from ffx import FF1
from pyarrow import csv

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto import cells
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.protection.plan import keyed, plan, reversible
from benchmarks import _people

VALUES = 1_000_000
FEWER = 100_000  # for peers of over ten microseconds a value: the ratio is of the cost of one value
ROUNDS = 3
DOMAIN = "person"
HEADER = cells.HEADER.pack(cells.TOKEN, 1)
ASSOCIATED = [bytes([cells.TOKEN]), DOMAIN.encode()]

Batches = Sequence[Any]
Work = Callable[[Batches], list[Any]]


def figures() -> Iterator[tuple[str, float]]:
    pa.set_cpu_count(1)
    keys = Keyset("bench", "local", "local:bench", 1, {1: secrets.token_bytes(64)})
    emails = _people.batches(_people.emails(VALUES))
    yield from _siv(keys, emails)
    yield from _cmac(keys, emails)
    yield from _ff1(keys, "ff1_card", _people.batches(_people.cards(VALUES)))
    yield from _ff1(keys, "ff1_ssn", _people.batches(_people.ssns(VALUES)))
    yield from _protect_vs_parse(keys)
    yield from _flatness(keys)
    yield from _cli()


def _siv(keys: Keyset, emails: Batches) -> Iterator[tuple[str, float]]:
    _peer("siv_tokenize, siv_decrypt", "cryptography", "AESSIV, a value at a time")
    rule = column_rule("email", "restricted", {"method": "tokenize", "domain": DOMAIN}, contract_id="bench")
    loop = AESSIV(keys.derive(1, DOMAIN, "tokenize"))

    def ours(batches: Batches) -> list[Any]:
        cipher = reversible(rule, keys)
        return [cipher.protect(batch) for batch in batches]

    def theirs(batches: Batches) -> list[Any]:
        return [
            pa.array([HEADER + loop.encrypt(value.encode(), ASSOCIATED) for value in batch.to_pylist()])
            for batch in batches
        ]

    yield from _ratio("siv_tokenize", ours, theirs, emails, emails)
    tokens = ours(emails)

    def our_way_back(batches: Batches) -> list[Any]:
        cipher = reversible(rule, keys)
        return [cipher.reveal(batch) for batch in batches]

    def their_way_back(batches: Batches) -> list[Any]:
        return [
            pa.array([loop.decrypt(cell[5:], ASSOCIATED).decode() for cell in batch.to_pylist()])
            for batch in batches
        ]

    yield from _ratio("siv_decrypt", our_way_back, their_way_back, tokens, tokens)


def _cmac(keys: Keyset, emails: Batches) -> Iterator[tuple[str, float]]:
    _peer("cmac", "cryptography", "CMAC, one AES, a context for each value as documented")
    _peer("cmac_copied", "cryptography", "CMAC, a copy of one context for each value")
    rule = column_rule(
        "email", "restricted", {"method": "pseudonymize", "domain": DOMAIN}, contract_id="bench"
    )
    aes = algorithms.AES(keys.derive(1, DOMAIN, "pseudonymize")[:32])
    context = CMAC(aes)

    def ours(batches: Batches) -> list[Any]:
        pseudonymizer = keyed(rule, keys)
        if pseudonymizer is None:
            raise AssertionError("pseudonymize is keyed")
        return [pseudonymizer.protect(batch) for batch in batches]

    def looped(made: Callable[[], CMAC]) -> Work:
        def one(value: bytes) -> bytes:
            mac = made()
            mac.update(value)
            return mac.finalize()

        return lambda batches: [
            pa.array([one(value.encode()) for value in batch.to_pylist()]) for batch in batches
        ]

    yield from _ratio("cmac", ours, looped(lambda: CMAC(aes)), emails, emails)
    yield from _ratio("cmac_copied", ours, looped(context.copy), emails, emails)


def _ff1(keys: Keyset, name: str, values: Batches) -> Iterator[tuple[str, float]]:
    _peer(name, "libffx", "FF1, the fastest of PyPI, a value at a time")
    rule = column_rule("number", "restricted", {"method": "fpe", "domain": DOMAIN}, contract_id="bench")
    peer = FF1(keys.derive(1, DOMAIN, "fpe")[:32], radix=10)
    tweak = DOMAIN.encode()

    def ours(batches: Batches) -> list[Any]:
        cipher = reversible(rule, keys)
        return [cipher.protect(batch) for batch in batches]

    def theirs(batches: Batches) -> list[Any]:
        return [
            pa.array([peer.encrypt(value, tweak=tweak) for value in batch.to_pylist()]) for batch in batches
        ]

    yield from _ratio(name, ours, theirs, values, values[: FEWER // _people.BATCH_ROWS], rounds=2)


def _protect_vs_parse(keys: Keyset) -> Iterator[tuple[str, float]]:
    """Of 250,000 rows with ten columns: the processor's time for protecting four over that for parsing the CSV."""
    _peer(
        "protect_vs_parse", "pyarrow", "csv.read_csv of the same bytes, its own choice of types, one thread"
    )
    rows = _people.table(250_000)
    written = io.BytesIO()
    csv.write_csv(rows, written)
    columns = dict.fromkeys(rows.column_names, "none") | {
        "email": "tokenize", "ssn": "fpe", "phone": "tokenize", "notes": "encrypt",
    }  # fmt: skip
    rules = from_columns(columns, "bench").rules
    text = pa.table([column.cast(pa.string()) for column in rows.columns], names=rows.column_names)
    batches = text.combine_chunks().to_batches(max_chunksize=_people.BATCH_ROWS)
    steps = plan(rules, keys)
    protecting, parsing, protected = [], [], []
    for _ in range(ROUNDS + 2):
        began = time.process_time()
        protected = [[step.apply(batch, first_record=1, where="") for step in steps] for batch in batches]
        protecting.append(time.process_time() - began)
        began = time.process_time()
        csv.read_csv(pa.BufferReader(written.getvalue()), read_options=csv.ReadOptions(use_threads=False))
        parsing.append(time.process_time() - began)
    opened = [reversible(step.rule, keys) for step in steps if step.rule.protection.reversible]
    for cipher in opened:
        at = rows.column_names.index(cipher.rule.name)
        for batch, made in zip(batches, protected, strict=True):
            if not cipher.reveal(made[at]).equals(batch.column(at)):
                raise AssertionError(f"column {cipher.rule.name!r} does not come back")
    yield "protect_vs_parse", statistics.median(protecting) / statistics.median(parsing)


def _flatness(keys: Keyset) -> Iterator[tuple[str, float]]:
    """Tokenize, cost of a row at 8,000,000 rows over that at 100,000."""
    rule = column_rule("email", "restricted", "tokenize", contract_id="bench")
    costs = {}
    for count in (100_000, 8_000_000):
        batches = _people.batches(_people.emails(count))
        measured = []
        for _ in range(15 if count < VALUES else 2):
            cipher = reversible(rule, keys)
            began = time.perf_counter()
            for batch in batches:
                cipher.protect(batch)
            measured.append((time.perf_counter() - began) / count)
        costs[count] = statistics.median(measured)
    yield "flatness", costs[8_000_000] / costs[100_000]


def _cli() -> Iterator[tuple[str, float]]:
    from benchmarks import _cli

    _peer("cli_vs_pandas", "pandas", "read_csv, DataFrame.apply with a function of a row, to_csv")
    _peer(
        "cli_vs_pandas_columns", "pandas", "the same with Series.apply, a function of a value for each column"
    )
    made = _cli.ratios(VALUES)
    yield "cli_vs_pandas", made["rows"]
    yield "cli_vs_pandas_columns", made["columns"]


def _ratio(
    name: str, ours: Work, theirs: Work, our_values: Batches, their_values: Batches, rounds: int = ROUNDS
) -> Iterator[tuple[str, float]]:
    """The cost of one value, theirs over ours; in turn, with the same output."""
    made = ours(our_values[: len(their_values)])
    if [value for batch in made for value in batch.to_pylist()] != [
        value for batch in theirs(their_values) for value in batch.to_pylist()
    ]:
        raise AssertionError(f"{name}: the two ways gave different values")
    del made
    our_cost, their_cost = [], []
    for _ in range(rounds):
        our_cost += [_cost(ours, our_values) for _ in range(3)]
        their_cost.append(_cost(theirs, their_values))
    yield name, statistics.median(their_cost) / statistics.median(our_cost)
    yield f"{name}_ns", statistics.median(our_cost) * 1e9


def _cost(work: Work, batches: Batches) -> float:
    """Seconds a value. What is made of a batch goes away before the next one, as in a load."""
    spent = 0.0
    for batch in batches:
        began = time.perf_counter()
        work([batch])
        spent += time.perf_counter() - began
    return spent / sum(len(batch) for batch in batches)


def _peer(figure: str, distribution: str, what: str) -> None:
    print(f"peer of {figure}: {distribution} {importlib.metadata.version(distribution)}, {what}", flush=True)
