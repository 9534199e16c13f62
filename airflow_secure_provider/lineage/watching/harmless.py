"""For what watches a task: no fault of it reaches the task."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


def harmless(look: Callable[..., None]) -> Callable[..., None]:
    """The same, and what it raises is written down at level DEBUG."""

    @functools.wraps(look)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            look(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
            log.debug("%s.%s failed: %s", look.__module__, look.__qualname__, type(error).__name__)

    return guarded
