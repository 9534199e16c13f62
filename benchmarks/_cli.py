"""``airflow-secure protect`` against a pandas script, as whole commands."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyarrow import csv

from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.crypto.keyset import KeysetDocument, unwrap
from airflow_secure_provider.keyrings.opening import wrapper_for
from benchmarks import _people
from sandbox.environment import REPOSITORY

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, classification: internal}
      - {name: email, logicalType: string, classification: restricted, customProperties: [{property: protection, value: tokenize}]}
      - {name: ssn, logicalType: string, classification: internal, customProperties: [{property: protection, value: {method: redact, keep_last: 4}}]}
      - {name: phone, logicalType: string, classification: restricted, customProperties: [{property: protection, value: tokenize}]}
      - {name: birth_date, logicalType: date, classification: confidential, customProperties: [{property: protection, value: {method: generalize, to: year}}]}
"""
_PACKAGE = [sys.executable, "-m", "airflow_secure_provider"]
_PANDAS = [sys.executable, "-m", "benchmarks._pandas_protect"]


def ratios(rows: int) -> dict[str, float]:
    """Wall-clock time of the script over that of the command; both start an interpreter, read and write a CSV.

    :return: for the script that goes by columns, and for the one that goes by rows.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "c.yaml").write_text(CONTRACT)
        keyset = folder / "k.json"
        _run([*_PACKAGE, "keys", "create", keyset, "--id", "bench", "--local"])
        source, theirs = folder / "in.csv", folder / "theirs.csv"
        columns = ["id", "email", "ssn", "phone", "birth_date"]
        csv.write_csv(_people.table(rows).select(columns), source)
        seconds = [
            _run(
                [
                    *_PACKAGE,
                    "protect",
                    source,
                    "--contract",
                    folder / "c.yaml",
                    "--keyset",
                    keyset,
                    "-o",
                    folder / f"{n}.csv",
                ]
            )
            for n in range(3)
        ]
        ours = csv.read_csv(folder / "0.csv")
        made = {}
        for by in ("columns", "rows"):
            made[by] = _run([*_PANDAS, by, source, theirs, *_keys(keyset)]) / sorted(seconds)[1]
            if not ours.equals(csv.read_csv(theirs)):
                raise AssertionError(f"the script by {by} gave another file")
    return made


def _keys(keyset: Path) -> list[str]:
    """Key and domain of each tokenized column, so that both make the same bytes."""
    document = KeysetDocument.from_json(keyset.read_bytes(), str(keyset))
    keys = unwrap(document, wrapper_for(document, str(keyset), lambda arn: None))
    rules = {rule.name: rule for rule in from_odcs(CONTRACT, "bench").rules}
    domains = [rules[name].domain or "" for name in ("email", "phone")]
    return [text for domain in domains for text in (keys.derive(1, domain, "tokenize").hex(), domain)]


def _run(command: list[object]) -> float:
    began = time.perf_counter()
    quiet = subprocess.DEVNULL
    subprocess.run([str(word) for word in command], check=True, stdout=quiet, stderr=quiet, cwd=REPOSITORY)
    return time.perf_counter() - began
