"""The page "Data protection" in a real Airflow, in a real browser, on what real tasks have done."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from sandbox.browser import browser, chromium
from sandbox.environment import short_directory
from sandbox.making import LAKE

from .conftest import CANARY, Stage

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed: apt-get install chromium"),
]
# What a checker of accessibility looks at first; it returns what is wrong.
BASICS = """() => {
  const wrong = [], all = (what) => [...document.querySelectorAll(what)];
  if (!document.documentElement.lang) wrong.push("html without lang");
  if (all("h1").length !== 1) wrong.push(`${all("h1").length} h1`);
  if (all("main").length !== 1) wrong.push("no main");
  if (!document.title) wrong.push("no title");
  all("input, select, textarea").forEach((each) => { if (!each.labels.length) wrong.push(`${each.name} without label`); });
  all("th").forEach((each) => { if (!each.scope) wrong.push(`th without scope: ${each.textContent}`); });
  all("table").forEach((each) => { if (!each.caption) wrong.push("table without caption"); });
  all("a, button").forEach((each) => { if (!each.textContent.trim()) wrong.push("control without a name"); });
  all("svg").forEach((each) => { if (each.getAttribute("aria-hidden") !== "true" && !each.querySelector(":scope > title")) wrong.push("svg without title"); });
  all(".scroll").forEach((each) => { if (each.tabIndex !== 0) wrong.push("what scrolls can't be reached by keyboard"); });
  const ids = all("[id]").map((each) => each.id);
  ids.forEach((id, index) => { if (ids.indexOf(id) !== index) wrong.push(`id twice: ${id}`); });
  return wrong;
}"""
# WCAG's contrast of every text that is seen, against the nearest background; AA asks for 4.5.
CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const wrong = [];
  document.querySelectorAll("body *").forEach((each) => {
    if (each.closest("svg, option") || each.closest(".skip")) return;
    if (![...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) return;
    let behind = each, back = [0, 0, 0, 0];
    while (behind && (back[3] ?? 1) === 0) { back = parts(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
    const [a, b] = [light(parts(getComputedStyle(each).color)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) wrong.push(`${each.className || each.tagName}: ${ratio.toFixed(2)}`);
  });
  return wrong;
}"""


class Tab:
    """One page of the browser, and what went wrong in it."""

    def __init__(self, context: Any) -> None:
        self.page = context.new_page()
        self.errors: list[str] = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._watch)

    def _listen(self, message: Any) -> None:
        ours = "/data-protection/" in message.location.get("url", "")
        if "Content Security Policy" in message.text or (message.type == "error" and ours):
            self.errors.append(f"{message.location}: {message.text}")

    def _watch(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:")):
            frame = request.frame
            if "/data-protection/" in frame.url:
                self.errors.append(f"it asks somebody else: {request.url}")


@pytest.fixture(scope="module")
def runs(stage: Stage) -> dict[str, str]:
    stage.world.aws.client("s3").put_object(Bucket=LAKE, Key="stock.csv", Body=b"id,name\n1,Ada\n")
    with stage.world.postgres.connect(dbname="crm") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS crm.stock_people (id bigint, name text)")
    started = {
        dag: stage.airflow.trigger(dag, logical_date=stage.next_day())
        for dag in ("case_good", "stock_in", "dark")
    }
    for dag, run in started.items():
        assert stage.airflow.wait(dag, run, 90) == "success", dag
    return started


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with short_directory() as home, browser(home) as running:
        yield running


@pytest.fixture
def tab(stage: Stage, chrome: Any, runs: dict[str, str], request: Any) -> Iterator[Tab]:
    """Logged in, as Airflow does it."""
    theme = getattr(request, "param", "light")
    context = chrome.new_context(color_scheme=theme, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(30_000)
    found = Tab(context)
    found.page.goto(stage.airflow.url)
    found.page.get_by_test_id("nav-sidebar").wait_for()
    yield found
    context.close()
    assert found.errors == []


@pytest.mark.parametrize(("tab", "theme"), [("light", "light"), ("dark", "dark")], indirect=["tab"])
def test_from_the_menu_to_the_page(stage: Stage, tab: Tab, theme: str) -> None:
    page = tab.page
    page.get_by_test_id("nav-sidebar").get_by_role("button", name="Browse").click()
    entry = page.get_by_role("menuitem", name="Data protection")
    assert entry.locator("img").evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 0
    entry.click()
    frame = page.frame_locator("iframe[title='Data protection']")
    frame.get_by_role("heading", name="Data protection", level=1).wait_for()
    assert "exposed" in frame.locator(".verdict").inner_text()
    rows = {
        row.locator("th a").inner_text(): row.locator(".status").first.inner_text()
        for row in frame.locator("tbody tr").all()
    }
    assert rows["good.csv"] == "protected"
    assert rows["crm.crm.people"] == "protected"
    assert rows["=1+1<b>.csv"] == "unknown"
    assert rows["stock.csv"] == "exposed"  # the lineage store has told of the stock operator
    inner = frame.locator("html")
    assert inner.evaluate(BASICS) == []
    assert inner.evaluate(CONTRAST) == []
    behind = inner.evaluate("getComputedStyle(document.body).backgroundColor")
    assert behind == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 19)"}[theme]


def test_it_follows_airflows_own_theme(stage: Stage, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{stage.airflow.url}/plugin/data-protection")
    frame = page.frame_locator("iframe[title='Data protection']")
    frame.get_by_role("heading", level=1).wait_for()
    page.evaluate("localStorage.setItem('theme', 'dark')")
    frame.locator("html[data-theme=dark]").wait_for()
    page.reload()
    frame.locator("html[data-theme=dark]").wait_for()
    behind = frame.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
    assert behind == "rgb(17, 17, 19)"


def test_filters_by_keyboard_and_exports(stage: Stage, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{stage.airflow.url}/plugin/data-protection")
    frame = page.frame_locator("iframe[title='Data protection']")
    frame.get_by_label("Status", exact=True).select_option("exposed or unknown")
    frame.get_by_label("Search").focus()
    page.keyboard.type("elsewhere")
    page.keyboard.press("Enter")
    frame.get_by_text("1 dataset, filtered").wait_for()
    (row,) = frame.locator("tbody tr").all()
    assert row.locator("th").inner_text() == "=1+1<b>.csv\ns3://elsewhere"
    assert frame.get_by_label("Status", exact=True).input_value() == "attention"
    with page.expect_download() as started:
        frame.get_by_role("link", name="CSV", exact=True).click()
    text = started.value.path().read_text(encoding="utf-8")
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["status"], line["name"]) == ("unknown", "'=1+1<b>.csv")
    frame.get_by_role("link", name="Clear").click()
    frame.get_by_text("filtered").wait_for(state="detached")


def test_a_task_instance_leads_to_its_hops(stage: Stage, tab: Tab, runs: dict[str, str]) -> None:
    page = tab.page
    page.goto(f"{stage.airflow.url}/dags/case_good/runs/{quote(runs['case_good'])}/tasks/load")
    page.get_by_role("link", name="Data protection").click()
    frame = page.frame_locator("iframe[title='Data protection']")
    frame.get_by_role("heading", level=1).wait_for()
    assert frame.get_by_role("heading", level=1).inner_text().startswith("load")
    graph = frame.get_by_role("img", name="Hops of load")
    assert graph.locator("g.node").count() == 2
    assert graph.locator("g.task").count() == 1
    assert graph.locator(".arrow").count() == 2
    text = frame.locator("#graph-text").text_content()
    assert text == (
        f"Task load read s3://{LAKE}/good.csv (protected) and wrote {_target(stage)} (protected)."
    )
    assert frame.locator(".protection.done").all_inner_texts() == ["tokenize", "encrypt"]
    inner = frame.locator("html")
    assert inner.evaluate(BASICS) == []
    assert CANARY not in frame.locator("html").inner_html()
    frame.get_by_role("link", name="whole DAG run").click()
    frame.get_by_role("heading", name="case_good", level=1).wait_for()


def test_what_the_store_alone_knows(stage: Stage, tab: Tab, runs: dict[str, str]) -> None:
    """The hops of a stock operator, which leaves no report."""
    tab.page.goto(
        f"{stage.airflow.url}/data-protection/run?dag_id=stock_in&task_id=load&run_id={quote(runs['stock_in'])}"
    )
    assert tab.page.get_by_role("img", name="Hops of load").locator("g.node").count() == 2
    assert "lineage store" in tab.page.locator("main").inner_text()


def _target(stage: Stage) -> str:
    postgres = stage.world.postgres
    return f"postgres://{postgres.host}:{postgres.port}/crm.crm.people"
