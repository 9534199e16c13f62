"""Airflow's own S3ToSqlOperator, on demand: one line of JSON in, one out. It neither decrypts nor protects."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from benchmarks._serving import BUCKET

PLAIN_KEY = "plain.csv"


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    _connections(settings)
    from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator

    logging.disable(logging.INFO)
    for line in sys.stdin:
        asked = json.loads(line)
        operator = S3ToSqlOperator(
            task_id="stock",
            s3_bucket=BUCKET,
            s3_key=PLAIN_KEY,
            table=asked["table"],
            column_list=asked["columns"],
            parser=_rows,
            commit_every=asked["commit_every"],
            sql_conn_id="bench_sql",
            aws_conn_id="bench_aws",
        )
        began = time.perf_counter()
        operator.execute({})
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


def _rows(path: str) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        yield from reader


def _connections(settings: dict[str, Any]) -> None:
    """As Airflow finds them in the environment."""
    port = Path(settings["port_file"]).read_text(encoding="ascii")
    aws = {
        "conn_type": "aws",
        "login": settings["access_key"],
        "password": settings["secret_key"],
        "extra": {
            "endpoint_url": f"https://127.0.0.1:{port}",
            "region_name": settings["region"],
            "verify": settings["ca"],
            "config_kwargs": {"s3": {"addressing_style": "path"}, "proxies": {}},
        },
    }
    told = conninfo_to_dict(settings["conninfo"])
    sql = {
        "conn_type": "postgres",
        "host": told["host"],
        "port": int(str(told["port"])),
        "login": told["user"],
        "password": told["password"],
        "schema": told["dbname"],
        "extra": {"sslmode": "verify-full", "sslrootcert": told["sslrootcert"]},
    }
    for name, connection in (("BENCH_AWS", aws), ("BENCH_SQL", sql)):
        os.environ[f"AIRFLOW_CONN_{name}"] = json.dumps(connection)
    home = Path(settings["port_file"]).parent / "airflow"
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home / 'airflow.db'}"


if __name__ == "__main__":
    main(sys.argv[1])
