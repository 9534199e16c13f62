"""A real browser without a window, for what must be seen to be believed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The program, or ``None`` where none is installed."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def browser(home: Path) -> Iterator[Any]:
    """
    A Playwright browser. It reaches 127.0.0.1 and asks nobody else.

    :param home: for what it writes; it never sees the caller's profile.
    :raises RuntimeError: where no Chromium is installed.
    """
    from playwright.sync_api import sync_playwright

    program = chromium()
    if program is None:
        raise RuntimeError(f"none of {', '.join(_NAMES)} is installed")
    home.mkdir(parents=True, exist_ok=True)
    arguments = ["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # it refuses root otherwise
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=arguments, env={**os.environ, "HOME": str(home)}
        )
        try:
            yield running
        finally:
            running.close()
