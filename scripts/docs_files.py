"""The example DAGs lie outside of docs/, where Airflow and the tests find them; pages link to them, so they go along."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DAGS = Path(__file__).parent.parent / "dags"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for file in sorted(DAGS.glob("*.py")):
        files.append(File.generated(config, f"dags/{file.name}", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return markdown.replace("](../../dags/", "](../dags/")
