"""What the pages and exports say, and that nothing in a name can do anything."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest

from tests.ui.facts import KMS, NAMELESS, PLAINTEXT, event, report
from tests.ui.test_store import store_of

Client = Callable[..., Any]
Tell = Callable[..., None]
ROOT = "/data-protection"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


class Tags(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def statuses(client: Any, query: str = "") -> dict[str, str]:
    answer = client.get(f"{ROOT}/datasets.json?{query}")
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["status"] for each in answer.json()["datasets"]}


def test_a_status_that_the_facts_do_not_bear_out_is_not_believed(client: Client, told: Tell) -> None:
    value = report(target="crm.crm.liar", at_rest=NAMELESS)
    assert value["target"]["status"] == "unknown"
    value["target"]["status"] = "protected"
    told("load", value)
    plain = report(source="s3://lake/other", target="crm.crm.plain", in_transit=PLAINTEXT)
    plain["target"]["status"] = "protected"
    told("load", plain, task_id="other")
    found = statuses(client("ana"))
    assert (found["crm.crm.liar"], found["crm.crm.plain"]) == ("unknown", "exposed")


def test_the_worst_that_any_task_saw_counts(client: Client, told: Tell) -> None:
    told("load", report(in_transit=PLAINTEXT), task_id="careless")
    told("load", report(), task_id="careful")
    assert statuses(client("ana"))["crm.crm.people"] == "exposed"
    page = client("ana").get(f"{ROOT}/").text
    assert "tasks differ; the worst counts" in page
    assert "1 of 2 datasets is exposed." in page
    # what a task has mended is mended
    told("load", report(), task_id="careless", run_id="run-2")
    assert statuses(client("ana"))["crm.crm.people"] == "protected"
    assert "All 2 datasets are protected:" in client("ana").get(f"{ROOT}/").text


def test_one_mapped_run_is_not_hidden_by_another(client: Client, told: Tell) -> None:
    told("load", report(in_transit=PLAINTEXT), map_index=0)
    told("load", report(), map_index=1)
    assert statuses(client("ana"))["crm.crm.people"] == "exposed"


def test_what_is_no_report_is_left_alone(client: Client, told: Tell) -> None:
    for number, value in enumerate(
        [
            "at_rest in_transit",
            ["at_rest", "in_transit"],
            {"source": {"at_rest": {}, "in_transit": {}}},
            {"source": {"dataset": {}, "at_rest": {}, "in_transit": {}}, "target": 1},
            {"keyset_id": "x", "tables": [{"at_rest": 1, "in_transit": []}]},
            {"at_rest": {"in_transit": None}},
        ]
    ):
        told("load", value, task_id=f"task{number}")
    assert statuses(client("ana")) == {}
    assert "No dataset is known." in client("ana").get(f"{ROOT}/").text


def test_odd_facts_are_unknown_and_not_an_error(client: Client, told: Tell) -> None:
    value = report()
    value["target"] |= {
        "at_rest": {"scheme": "trust me", "evidence": "observed", "algorithm": ["x"], "key_id": {}},
        "in_transit": {"protocol": 13, "peer_verified": "yes", "evidence": []},
        "columns": [None, {"name": ""}, {"name": "a", "classification": [], "protection": {"x": 1}}, 5],
        "status": {"a": 1},
    }
    value["edges"] = [None, {"source": []}, {"target": "a", "masking": "no"}]
    value["contract"] = "none"
    told("load", value)
    assert statuses(client("ana"))["crm.crm.people"] == "unknown"
    for path in ("", "run?dag_id=load&run_id=run-1&task_id=task", "datasets.csv"):
        assert client("ana").get(f"{ROOT}/{path}").status_code == 200


def test_an_asset_event_alone_proves_nothing(client: Client, told: Tell) -> None:
    ours = {"status": "protected", "contract": "people 1.0.0", "contract_digest": "d" * 64}
    told("load", assets={"crm.people": ours, "s3://lake/other": {"status": "protected"}})
    assert statuses(client("ana")) == {"crm.people": "unknown", "s3://lake/other": "unknown"}
    assert "the report with the evidence for it is gone" in client("ana").get(f"{ROOT}/").text
    told("load", assets={"crm.bare": {**ours, "status": "exposed"}}, run_id="run-2")
    assert statuses(client("ana"))["crm.bare"] == "exposed"


def test_an_asset_event_beside_its_report_is_the_same_dataset(client: Client, told: Tell) -> None:
    ours = {"status": "protected", "contract": "people 1.0.0", "contract_digest": "d" * 64}
    told("load", report(), assets={"crm.people": ours})
    assert statuses(client("ana")) == {"people.csv": "protected", "crm.crm.people": "protected"}
    # another task, of which nothing is known, writes the table under its asset's name
    told("load", task_id="stock", assets={"postgres://db:5432/crm/crm/people": {}})
    assert statuses(client("ana")) == {"people.csv": "protected", "crm.crm.people": "unknown"}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=exposed", {"crm.crm.plain"}),
        ("status=unknown", {"crm.crm.dark"}),
        ("status=attention", {"crm.crm.plain", "crm.crm.dark"}),
        ("status=protected&evidence=observed", {"people.csv"}),
        ("evidence=declared&status=protected", set()),
        ("dag=open", {"people.csv", "crm.crm.dark"}),
        ("q=K1", {"people.csv"}),
        ("q=DARK", {"crm.crm.dark"}),
        ("class=restricted", {"people.csv", "crm.crm.plain", "crm.crm.dark"}),
        ("class=internal", set()),
        ("q=%25", set()),
    ],
)
def test_filters(client: Client, told: Tell, query: str, names: set[str]) -> None:
    told("load", report(target="crm.crm.plain", in_transit=PLAINTEXT))
    told("open", report(target="crm.crm.dark", at_rest=NAMELESS))
    ana = client("ana")
    assert set(statuses(ana, query)) == names
    rows = list(csv.DictReader(io.StringIO(ana.get(f"{ROOT}/datasets.csv?{query}").text)))
    assert {row["name"] for row in rows} == names
    page = ana.get(f"{ROOT}/?{query}").text
    assert set(re.findall(r'data-name="([^"]*)"', page)) == names
    assert ("No dataset matches these filters." in page) == (not names)


@pytest.mark.parametrize("query", ["status=fine", "evidence=x", "class=x", "page=0", f"q={'x' * 4001}"])
def test_a_filter_that_means_nothing_shows_nothing(client: Client, told: Tell, query: str) -> None:
    """To leave it out would show more than was asked for."""
    told("load", report())
    assert client("ana").get(f"{ROOT}/?{query}").status_code == 422


@pytest.mark.parametrize("path", ["", "dataset", "run", "404"])
def test_hostile_names_are_text(client: Client, told: Tell, path: str) -> None:
    value = report(source=f"s3://lake/{HOSTILE}", target=HOSTILE, names=(HOSTILE, f"{HOSTILE}2"))
    value["target"]["at_rest"] |= {"algorithm": HOSTILE, "key_id": HOSTILE, "note": HOSTILE}
    value["contract"]["id"] = HOSTILE
    value["edges"] = [{"source": HOSTILE, "target": HOSTILE, "description": HOSTILE}]
    told("load", value, run_id=HOSTILE, task_id=HOSTILE, assets={f"x:{HOSTILE}": {}})
    name = quote(HOSTILE)
    addresses = {
        "": f"?q={name}&dag={quote('<b>')}",
        "dataset": f"dataset?namespace=postgres://db:5432&name={name}",
        "run": f"run?dag_id=load&run_id={name}&task_id={name}",
        "404": f"run?dag_id=load&run_id={name}&task_id={name}&map_index=x{name}",
    }
    answer = client("ana").get(f"{ROOT}/{addresses[path]}")
    assert answer.status_code == (404 if path == "404" else 200)
    tags = Tags(answer.text).found
    scripts = [attributes for tag, attributes in tags if tag == "script"]
    assert [each.get("src", "").partition("?")[0] for each in scripts] == [f"{ROOT}/static/page.js"]
    assert not [tag for tag, _ in tags if tag == "img"]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert not [name for _, attributes in tags for name in attributes if name == "style"]
    assert "49" not in answer.text  # {{7*7}}
    for _, attributes in tags:
        for name in ("href", "src", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), attributes


def test_no_cell_is_a_formula(client: Client, told: Tell) -> None:
    told("=cmd", report(source="s3://lake/-1+1", target="+1"), run_id="@run", task_id="\tx")
    value = report(source="s3://lake/ok", target="=HYPERLINK(1)")
    value["target"]["at_rest"] |= {"algorithm": " =1", "key_id": "＝1", "note": "\r=1"}
    told("load", value)
    text = client("ana").get(f"{ROOT}/datasets.csv").text
    rows = list(csv.reader(io.StringIO(text, newline="")))
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if re.match(r"\s*[=+\-@＝\t\r]", cell)]
    assert {"'=HYPERLINK(1)", "'+1", "'-1+1", "'=cmd", "'@run", "'\tx", "' =1", "'＝1", "'\r=1"} <= set(cells)


def test_headers_of_every_answer(client: Client, told: Tell) -> None:
    told("load", report())
    for path in (
        "",
        "static/page.css",
        "static/page.js",
        "datasets.json",
        "nowhere",
        "run?dag_id=x&run_id=y",
    ):
        answer = client("ana").get(f"{ROOT}/{path}")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; "), path
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        static = path.startswith("static/")
        assert answer.headers["cache-control"] == ("max-age=3600" if static else "no-store")
        assert len(answer.headers.get_list("cache-control")) == 1


def test_links_below_a_path_of_airflows_own(airflow_app: Any, client: Client, told: Tell) -> None:
    from starlette.testclient import TestClient

    told("load", report())
    headers = client("ana").headers
    page = TestClient(airflow_app, root_path="/team-a", headers=headers).get(f"/team-a{ROOT}/")
    assert page.status_code == 200
    links = [attributes.get("href") or "" for _, attributes in Tags(page.text).found]
    links = [link for link in links if link and not link.startswith("#")]
    assert len(links) > 8
    assert [link for link in links if not link.startswith(f"/team-a{ROOT}/")] == []


def test_nothing_comes_from_elsewhere(client: Client, told: Tell) -> None:
    told("load", report())
    for path in ("", "run?dag_id=load&run_id=run-1", "static/page.css", "static/page.js"):
        assert not re.findall(
            r"(?:https?:)?//[a-z]", client("ana").get(f"{ROOT}/{path}").text.replace("://", "")
        )


def test_a_task_run_and_its_whole_run(client: Client, told: Tell) -> None:
    told("load", report(), task_id="first")
    second = report(source="crm.crm.people", target="crm.out.share", source_at_rest=KMS)
    told("load", second, task_id="second", map_index=3)
    told("load", report(target="crm.other.run"), task_id="first", run_id="run-2")
    ana = client("ana")
    whole = ana.get(f"{ROOT}/run?dag_id=load&run_id=run-1").text
    assert (whole.count('<g class="node'), whole.count('<g class="task')) == (3, 2)
    one = ana.get(f"{ROOT}/run?dag_id=load&run_id=run-1&task_id=second&map_index=3").text
    assert (one.count('<g class="node'), one.count('<g class="task')) == (2, 1)
    assert "crm.other.run" not in whole
    assert "Where the columns came from" in one
    unmapped = "run?dag_id=load&run_id=run-1&task_id=first&map_index=%7BMAP_INDEX%7D"
    assert ana.get(f"{ROOT}/{unmapped}").status_code == 200
    for missing in ("task_id=none", "task_id=second&map_index=4", "task_id=second&map_index=x"):
        assert ana.get(f"{ROOT}/run?dag_id=load&run_id=run-1&{missing}").status_code == 404
    (told_of,) = ana.get(f"{ROOT}/run.json?dag_id=load&run_id=run-1&task_id=second").json()["taskRuns"]
    assert (told_of["mapIndex"], told_of["rows"], told_of["contract"]) == (3, 1234, "people 1.0.0")
    assert told_of["columns"][1]["target"] == {
        "namespace": "postgres://db:5432",
        "name": "crm.out.share",
        "column": "email",
    }


def test_a_run_of_which_nothing_is_known_says_so(client: Client, told: Tell) -> None:
    told("load", task_id="stock")
    page = client("ana").get(f"{ROOT}/run?dag_id=load&run_id=run-1&task_id=stock").text
    assert "Nothing is known of the data of this run." in page
    assert "protected</span>" not in page


def test_without_a_lineage_store_the_page_does_not_seem_whole(
    client: Client, told: Tell, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that it shows may be protected while a stock operator copies the same in plaintext."""
    told("load", report())
    for path in ("", "run?dag_id=load&run_id=run-1"):
        assert "No lineage store is named" in client("ana").get(f"{ROOT}/{path}").text
    store_of([event("load", inputs=("s3://lake/people.csv",))], tmp_path, monkeypatch)
    assert "No lineage store" not in client("ana").get(f"{ROOT}/").text


def test_the_report_is_believed_before_the_lineage_store(
    client: Client, told: Tell, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They tell of the same run; the store adds what the report leaves out."""
    told("load", report())
    store_of(
        [event("load", inputs=("s3://lake/people.csv", "s3://lake/codes.csv"), outputs=("crm.crm.people",))],
        tmp_path,
        monkeypatch,
    )
    assert statuses(client("ana")) == {
        "people.csv": "protected",
        "crm.crm.people": "protected",
        "codes.csv": "unknown",
    }


def test_of_both_what_was_seen_to_be_worse_counts(
    client: Client, told: Tell, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write an XCom can't whitewash what was observed."""
    told("load", report())
    seen = {
        "status": "exposed",
        "atRest": {"scheme": "none", "evidence": "observed"},
        "inTransit": {"protocol": "TLSv1.3", "peerVerified": True, "evidence": "observed"},
        "columns": [],
        "warnings": ["look at it"],
    }
    store_of([event("load", outputs=("crm.crm.people",), facet=seen)], tmp_path, monkeypatch)
    assert statuses(client("ana"))["crm.crm.people"] == "exposed"
    assert "look at it" in client("ana").get(f"{ROOT}/").text


def test_many_datasets_come_in_pages(client: Client, told: Tell) -> None:
    for number in range(101):
        told("load", report(target=f"crm.t.n{number:03}"), task_id=f"t{number}")
    ana = client("ana")
    first, second = ana.get(f"{ROOT}/?q=crm.t").text, ana.get(f"{ROOT}/?q=crm.t&page=2").text
    assert first.count("<tr ") == 100
    assert second.count("<tr ") == 1
    assert "crm.t.n100" in second.replace("<wbr>", "")
    assert "101 datasets, filtered, the worst first; 101 to 101" in second


def test_what_is_cut_is_said(client: Client, told: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_secure_provider.ui import metadata

    monkeypatch.setattr(metadata, "MOST_REPORTS", 2)
    for number in range(3):
        told("load", report(target=f"crm.t.n{number}"), task_id=f"t{number}")
    assert set(statuses(client("ana"))) == {"people.csv", "crm.t.n1", "crm.t.n2"}
    told_it = "Only the newest reports in XCom are read"
    assert told_it in client("ana").get(f"{ROOT}/").text
    monkeypatch.setattr(metadata, "MOST_REPORTS", 3)
    assert told_it not in client("ana").get(f"{ROOT}/").text
    monkeypatch.setattr(metadata, "MOST_CHARACTERS", int(2.5 * len(json.dumps(report()))))
    assert told_it in client("ana").get(f"{ROOT}/").text
    assert set(statuses(client("ana"))) == {"people.csv", "crm.t.n1", "crm.t.n2"}
