"""Data that is written to a disk in plain text, on its way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .model import Call, Seen, Told
from .values import texts

_DOWNLOADS = {"download_file", "get_file", "retrieve_file", "download_to_file", "get_file_to_path"}
_WRITERS = {
    "to_csv", "to_parquet", "to_json", "to_excel", "to_pickle", "to_feather", "write_table", "write_csv", "write_parquet", "write_ndjson",
    "copy_expert", "bulk_dump", "savetxt", "dump_to_file",
}  # fmt: skip
_TEMPORARY = re.compile(
    r"^(?:file://)?/(?:tmp|var/tmp)/|^\x00?/?tmp/[^\s]+\.(?:csv|jsonl?|parquet|tsv|dump|sql)", re.I
)
_DATA_FILE = re.compile(
    r"\.(?:csv|tsv|jsonl?|ndjson|parquet|avro|orc|xlsx?|dump|pkl)(?:\.(?:gz|zst|bz2))?$", re.I
)
_LOCAL_ARGUMENTS = (
    "local_path",
    "local_filepath",
    "local_file_path",
    "filename",
    "file_path",
    "dest",
    "output_path",
    "tmp_file_path",
    "local_full_path",
)
_SHELL_WRITE = re.compile(
    r"(?:>|\bcp\b[^|;\n]{0,300}\s|\s-o\s|--output[= ]|\btee\s|\bto\s+)\s*[\"']?/(?:var/)?tmp/\S+", re.I
)
_SHELL_DATA = re.compile(
    r"\b(?:psql|pg_dump|mysqldump|aws\s+s3\s+cp|\\copy|copy\s|curl|gsutil|sqlcmd|bcp)\b", re.I
)
_TEMPFILES = {
    "tempfile.NamedTemporaryFile",
    "tempfile.mkstemp",
    "tempfile.TemporaryDirectory",
    "tempfile.mkdtemp",
}
_MOVES = (
    {"download_fileobj", "upload_file", "load_file", "copyfileobj", "get_records", "get_key", "read_key"}
    | _DOWNLOADS
    | _WRITERS
)


def plain_files(seen: Seen) -> Iterator[Told]:
    """SP109."""
    moves = any(call.name in _MOVES for call in seen.calls)
    for call in seen.calls:
        reason = _reason(call, moves=moves)
        if reason:
            yield call.place, reason
    for each in seen.literals:
        text = each.value
        if (
            isinstance(text, str)
            and each.name in ("bash_command", "cmd", "command")
            and _SHELL_WRITE.search(text)
            and _SHELL_DATA.search(text)
        ):
            yield each.place, "the command writes data below /tmp, in plain text"


def _reason(call: Call, *, moves: bool) -> str | None:
    method = "." in call.qualified
    if call.name in _DOWNLOADS and method and ("task_id" not in call.arguments):
        return f"{call.name}() leaves the whole object on the worker's disk, in plain text if it is not encrypted itself"
    if call.qualified in _TEMPFILES and moves:
        return f"{call.qualified} holds data on the worker's disk, in plain text"
    paths = [
        text for value in call.arguments.values() for text in texts(value.value) if _TEMPORARY.match(text)
    ]
    if not paths:
        return None
    if call.name in _WRITERS and method:
        return f"{call.name}() writes data below /tmp, in plain text"
    if call.name == "open" and any(mode in str(call.value("1", "mode") or "r") for mode in "wax+"):
        return "a file below /tmp is written, in plain text"
    if "task_id" in call.arguments and any(
        _DATA_FILE.search(text) or name in _LOCAL_ARGUMENTS
        for name, value in call.arguments.items()
        if name not in ("bash_command", "cmd", "command")
        for text in texts(value.value)
        if _TEMPORARY.match(text)
    ):
        return f"{call.name} keeps data below /tmp, in plain text"
    return None
