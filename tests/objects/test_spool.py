"""A spool reads as the stream was, from anywhere, and its file shows nothing of it."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from airflow_secure_provider.objects import spool as module
from airflow_secure_provider.objects.spool import EncryptedSpool


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(module, "_IN_MEMORY_BLOCKS", 3)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 192, 193, 256, 5_000])
def test_it_reads_as_a_file_does(small: None, size: int) -> None:
    chance = random.Random(size)
    content = chance.randbytes(size)
    spool, reference = EncryptedSpool.of(io.BytesIO(content)), io.BytesIO(content)
    assert spool.read() == content
    for _ in range(200):
        offset, length = chance.randrange(size + 10), chance.randrange(300)
        whence = chance.choice([io.SEEK_SET, io.SEEK_END])
        assert spool.seek(-offset if whence else offset, whence) == reference.seek(
            max(-offset, -size) if whence else offset, whence
        )
        assert spool.read(length) == reference.read(length)
        assert spool.tell() == reference.tell()
    spool.close()


def _on_disk(spool: EncryptedSpool) -> Any:
    assert spool._file is not None
    return spool._file


def test_nothing_of_it_stands_on_disk(small: None) -> None:
    spool = EncryptedSpool.of(io.BytesIO(b"Zq7canary-" * 1_000))
    file = _on_disk(spool)
    file.seek(0)
    stored = file.read()
    assert len(stored) > 9_000
    assert b"Zq7canary" not in stored


def test_a_changed_file_is_noticed(small: None) -> None:
    spool = EncryptedSpool.of(io.BytesIO(b"Zq7canary-" * 1_000))
    file = _on_disk(spool)
    file.seek(100)
    byte = file.read(1)
    file.seek(100)
    file.write(bytes([byte[0] ^ 1]))
    file.flush()
    with pytest.raises(InvalidTag):
        spool.read()


def test_two_spools_have_two_keys(small: None) -> None:
    first, second = (EncryptedSpool.of(io.BytesIO(b"a" * 1_000)) for _ in range(2))
    _on_disk(first).seek(0)
    _on_disk(second).seek(0)
    assert _on_disk(first).read() != _on_disk(second).read()
