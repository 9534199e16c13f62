"""What the plugin gives to Airflow: where the page is, and who opens it. Every Airflow process reads this, so it imports nothing."""

from __future__ import annotations

from typing import Any

PREFIX = "data-protection"
_RUN = f"{PREFIX}/run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}"


class LazyPage:
    """An ASGI application that is imported with the first request: only the API server needs FastAPI and templates."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            import asyncio

            self._app = await asyncio.to_thread(_load)
        await self._app(scope, receive, send)


def _load() -> Any:
    from .app import make_app

    return make_app()


FASTAPI_APPS: list[dict[str, Any]] = [
    {"name": "Data protection", "app": LazyPage(), "url_prefix": f"/{PREFIX}"},
]

# Relative addresses: Airflow may live below a path of its own.
EXTERNAL_VIEWS: list[dict[str, Any]] = [
    {
        "name": "Data protection",
        "href": f"{PREFIX}/",
        "destination": "nav",
        "category": "browse",
        "url_route": PREFIX,
        "icon": f"{PREFIX}/static/icon.svg",
        "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg",
    },
    {
        "name": "Data protection",
        "href": _RUN,
        "destination": "dag_run",
        "url_route": f"{PREFIX}-of-run",
        "icon": f"{PREFIX}/static/icon.svg",
        "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg",
    },
    {
        "name": "Data protection",
        # Of a task that is not mapped, Airflow leaves {MAP_INDEX} as it is.
        "href": f"{_RUN}&task_id={{TASK_ID}}&map_index={{MAP_INDEX}}",
        "destination": "task_instance",
        "url_route": f"{PREFIX}-of-task",
        "icon": f"{PREFIX}/static/icon.svg",
        "icon_dark_mode": f"{PREFIX}/static/icon-dark.svg",
    },
]
