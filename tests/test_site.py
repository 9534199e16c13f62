"""The documentation as a site: whole, strict, and without anything from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-d", site],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, site)
    assert done.returncode == 0, done.stderr
    return site


class Fetched(HTMLParser):
    """What a browser fetches of itself: links of ``<a>`` are for people to follow."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.classes |= set((given.get("class") or "").split())
        if tag != "a":
            self.addresses += [value for name in ("src", "href", "srcset") if (value := given.get(name))]


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        assert fetched.addresses
        assert not [each for each in fetched.addresses if re.match(r"(?:[a-z]+:)?//", each)], page
        assert "mermaid" not in fetched.classes, f"{page}: the theme fetches Mermaid from a CDN"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_operators_tell_the_arguments_of_their_bases(site: Path) -> None:
    page = (site / "reference/api/operators.html").read_text()
    told = page.partition('id="airflow_secure_provider.operators.EncryptToS3Operator"')[0]
    text = re.sub(r"<[^>]+>|\s+", "", told)
    assert "postgres_conn_id(str,default:&#39;postgres_default&#39;)" in text
    assert "min_ttl(str|float|timedelta|None,default:None)" in text


def test_docstrings_show_no_markup(site: Path) -> None:
    for page in (site / "reference/api").glob("*.html"):
        text = re.sub(r"<code>.*?</code>|<pre.*?</pre>|<[^>]+>", "", page.read_text(), flags=re.DOTALL)
        assert not re.search(r":(?:class|meth|func|mod|data|param|ivar|raises)\b|::", text), page


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        ("[x](howto/no-such-page.md)", "no-such-page.md"),
        ("[x](howto/vault.md#no-such-anchor)", "no-such-anchor"),
        ("::: airflow_secure_provider.no_such_thing", "no_such_thing"),
        (None, "left-out.md"),
    ],
)
def test_what_leads_nowhere_stops_the_build(tmp_path: Path, added: str | None, complaint: str) -> None:
    for name in ("docs", "dags", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "airflow_secure_provider").symlink_to(ROOT / "airflow_secure_provider")
    if added is None:
        (tmp_path / "docs" / "left-out.md").write_text("# Left out of the navigation\n")
    else:
        with open(tmp_path / "docs" / "index.md", "a") as index:
            index.write(f"\n{added}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert complaint in done.stderr
