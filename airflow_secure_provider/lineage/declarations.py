"""``[secure_provider] declared_at_rest``: what people say of stores that can't be asked."""

from __future__ import annotations

import json

from ..errors import ConfigurationError
from ..model import SCHEMES, AtRest, Evidence

_WHERE = "[secure_provider] declared_at_rest"


def declarations(text: str) -> dict[str, AtRest]:
    """
    :param text: the option's value.
    :raises ConfigurationError: if it is not what its description says.
    """
    try:
        entries = {name: dict(entry) for name, entry in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(f"{_WHERE} is not a JSON object of objects") from None
    known = {"scheme", "algorithm", "key_provider", "key_id"}
    for name, entry in entries.items():
        unknown = sorted(set(entry) - known)
        if unknown or entry.get("scheme") not in SCHEMES:
            problem = (
                f"unknown key {unknown[0]!r}" if unknown else f"scheme must be one of {', '.join(SCHEMES)}"
            )
            raise ConfigurationError(f"{_WHERE}, {name!r}: {problem}; it takes {', '.join(sorted(known))}")
    return {
        name: AtRest(evidence=Evidence.DECLARED, note="declared in [secure_provider]", **entry)
        for name, entry in entries.items()
    }
