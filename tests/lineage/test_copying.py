"""Which tables a COPY statement copies; one that is not understood is not guessed."""

from __future__ import annotations

import pytest

from airflow_secure_provider.lineage.watching.copying import Copied, copied


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("COPY crm.people FROM STDIN", Copied((("crm", "people"),), True)),
        ("copy People from stdin with (format csv)", Copied((("public", "people"),), True)),
        ('COPY "Crm"."My ""T" (id, "na me") FROM STDIN', Copied((("Crm", 'My "T'),), True)),
        ("-- who\n/* what */ COPY people TO STDOUT;", Copied((("public", "people"),), False)),
        ("COPY (SELECT name FROM crm.people) TO STDOUT CSV", Copied((("crm", "people"),), False)),
        ("COPY (SELECT 1) TO STDOUT", Copied((), False)),
    ],
)
def test_tables(statement: str, expected: Copied) -> None:
    assert copied(statement) == expected


def test_a_join_reads_both() -> None:
    found = copied("COPY (SELECT * FROM a.x JOIN b.y USING (id)) TO STDOUT")
    assert found is not None
    assert set(found.tables) == {("a", "x"), ("b", "y")}


@pytest.mark.parametrize(
    "statement", ["SELECT 1", "COPY people FROM '/srv/file'", "COPY people FROM PROGRAM 'cat'", "COPY", ""]
)
def test_what_is_not_understood(statement: str) -> None:
    assert copied(statement) is None
