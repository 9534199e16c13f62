"""The pages and exports. Airflow serves a plugin's application without a login, so each route here asks for one.

Nothing here changes anything: there are only GETs, so that there is nothing to forge.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..model import Classification, Evidence
from .access import Reader
from .content import Content, Filters, dags_of, gather
from .drawing import draw
from .exports import as_csv, as_json, run_as_json
from .metadata import Run
from .runs import UNCLASSIFIED, UNKNOWN, WORST_FIRST, Seen, counts, datasets

_HERE = Path(__file__).parent
_ROWS_PER_PAGE = 100
_MOST_COLUMNS = 2_000  # shown of one dataset
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PLAIN = {
    401: ("Not logged in", "Log in to Airflow, then open this page again."),
    403: ("Not allowed", "Airflow does not accept this login."),
    404: ("Not found", "There is no such thing, or you may not read it."),
}

User = Annotated[Any, Depends(get_user)]
Text = Annotated[str, Query(max_length=4000)]  # an S3 key has up to 1,024 bytes


def make_app() -> ASGIApp:
    app = FastAPI(title="Data protection", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(StarletteHTTPException, _failure)
    app.add_api_route("/", datasets_page, response_class=HTMLResponse)
    app.add_api_route("/dataset", dataset_page, response_class=HTMLResponse)
    app.add_api_route("/run", run_page, response_class=HTMLResponse)
    app.add_api_route("/datasets.csv", datasets_csv)
    app.add_api_route("/datasets.json", datasets_json)
    app.add_api_route("/run.json", run_json)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    return _WithHeaders(app)


def _filters(
    status: Literal["", "attention", "exposed", "unknown", "partial", "protected"] = "",
    evidence: Literal["", "observed", "declared", "contradicted", "unknown"] = "",
    classification: Annotated[
        Literal["", "restricted", "confidential", "internal", "public", "unclassified", "unknown"],
        Query(alias="class"),
    ] = "",
    dag: Text = "",
    q: Text = "",
) -> Filters:
    return Filters(status, evidence, classification, dag, q.strip())


def _run(dag_id: Text, run_id: Text, task_id: Text = "", map_index: Text = "") -> Run:
    if not task_id:
        return Run(dag_id, run_id)
    # Of a task that is not mapped, Airflow's link says {MAP_INDEX}.
    if map_index in ("", "{MAP_INDEX}"):
        return Run(dag_id, run_id, task_id)
    try:
        return Run(dag_id, run_id, task_id, int(map_index))
    except ValueError:
        raise HTTPException(404) from None


def datasets_page(
    request: Request,
    user: User,
    filters: Annotated[Filters, Depends(_filters)],
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    content = _everything(user)
    found = datasets(content.runs)
    shown = [each for each in found if filters(each)]
    pages = max(1, -(-len(shown) // _ROWS_PER_PAGE))
    page = min(page, pages)
    first = (page - 1) * _ROWS_PER_PAGE
    return _page(
        request,
        "datasets.html",
        notes=content.notes,
        total=len(found),
        counts=counts(found),
        shown=shown[first : first + _ROWS_PER_PAGE],
        matching=len(shown),
        first=first,
        page=page,
        pages=pages,
        filters=filters,
        dags=dags_of(found),
    )


def dataset_page(request: Request, user: User, name: Text, namespace: Text = "") -> Response:
    content = _everything(user)
    found = [each for each in datasets(content.runs) if (each.namespace, each.name) == (namespace, name)]
    if not found:
        raise HTTPException(404)
    runs = [run for run in content.runs if any(end.key == (namespace, name) for end in run.ends)]
    return _page(
        request,
        "dataset.html",
        notes=content.notes,
        dataset=found[0],
        columns=found[0].columns[:_MOST_COLUMNS],
        runs=runs[:_ROWS_PER_PAGE],
        all_runs=len(runs),
    )


def run_page(request: Request, user: User, run: Annotated[Run, Depends(_run)]) -> Response:
    content = gather(Reader(user), run)
    if content is None:
        raise HTTPException(404)
    runs = sorted(content.runs, key=lambda each: each.at)
    return _page(
        request,
        "run.html",
        notes=content.notes,
        run=run,
        runs=runs,
        drawing=draw(runs),
        most_columns=_MOST_COLUMNS,
        found=datasets(runs),
    )


def datasets_csv(user: User, filters: Annotated[Filters, Depends(_filters)]) -> Response:
    shown, _ = _filtered(user, filters)
    return _download(as_csv(shown), "text/csv; charset=utf-8", "csv")


def datasets_json(user: User, filters: Annotated[Filters, Depends(_filters)]) -> Response:
    shown, notes = _filtered(user, filters)
    return JSONResponse(
        {
            "at": datetime.now(UTC).isoformat(),
            "filters": asdict(filters),
            "notes": notes,
            "datasets": [as_json(each) for each in shown],
        }
    )


def run_json(user: User, run: Annotated[Run, Depends(_run)]) -> Response:
    content = gather(Reader(user), run)
    if content is None:
        raise HTTPException(404)
    return JSONResponse(
        {"notes": content.notes, "taskRuns": [run_as_json(each) for each in reversed(content.runs)]}
    )


def _everything(user: Any) -> Content:
    content = gather(Reader(user))
    assert content is not None  # noqa: S101 (None is for a run alone)
    return content


def _filtered(user: Any, filters: Filters) -> tuple[list[Seen], tuple[str, ...]]:
    content = _everything(user)
    return [each for each in datasets(content.runs) if filters(each)], content.notes


def _download(body: str, kind: str, suffix: str) -> Response:
    name = f"data-protection-{datetime.now(UTC):%Y-%m-%d}.{suffix}"
    return Response(body, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    root = str(request.scope.get("root_path", "")).rstrip("/")
    return HTMLResponse(_TEMPLATES.get_template(template).render(root=root, **values), status)


async def _failure(request: Request, error: Exception) -> Response:
    """As a page for people, and as JSON for programs."""
    status = error.status_code if isinstance(error, StarletteHTTPException) else 500
    headers = error.headers if isinstance(error, StarletteHTTPException) else None
    title, words = _PLAIN.get(status, ("Not possible", "This page can't be shown."))
    if request.url.path.endswith((".json", ".csv")):
        return JSONResponse({"detail": title}, status, headers)
    page = _page(request, "error.html", status, title=title, words=words)
    page.headers.update(headers or {})
    return page


class _WithHeaders:
    """On each answer, also of static files and of failures."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        static = scope["type"] == "http" and scope["path"].startswith(f"{scope.get('root_path', '')}/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = _HEADERS | ({"Cache-Control": "max-age=3600"} if static else {})
                kept = [pair for pair in message["headers"] if pair[0].lower() != b"cache-control"]
                message["headers"] = [*kept, *((k.lower().encode(), v.encode()) for k, v in ours.items())]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _breakable(name: object) -> Markup:
    """Long names may break after what parts them, rather than anywhere."""
    return Markup(re.sub(r"([/._-])(?=.)", r"\1<wbr>", str(escape(name))))  # noqa: S704 (escaped before)


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(moment=_moment, breakable=_breakable)
    found.globals.update(
        version=__version__,
        statuses=[str(each) for each in WORST_FIRST],
        classes=[*reversed([str(each) for each in Classification]), UNCLASSIFIED, UNKNOWN],
        evidences=[str(each) for each in Evidence],
    )
    return found


_TEMPLATES = _environment()
