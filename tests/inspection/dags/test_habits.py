"""What an author writes without a thought, and what still has to be seen in it; and near misses."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.inspection.dags.checking import check_source
from airflow_secure_provider.inspection.dags.model import Level

from .test_checking import run
from .test_dags import SEEDED

REGISTRY = Registry.read(SEEDED / "contracts")
HEAD = "from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator as Load\n"
RESTRICTED = {
    "a mapping": 'C = {"t": "crm.people", "b": ["customer-lake"]}\nLoad(task_id="a", s3_bucket=C["b"][0], s3_key="x", table=C["t"])',
    "get": 'C = {"t": "crm.people"}\nLoad(task_id="a", s3_bucket="b", s3_key="x", table=C.get("t"))',
    "a class of its own": 'class Mine(Load):\n    pass\nMine(task_id="a", s3_bucket="b", s3_key="x", table="crm.people")',
    "a class of that class": 'class Mine(Load):\n    pass\nclass More(Mine):\n    pass\nMore(task_id="a", s3_bucket="b", s3_key="x", table="crm.people")',
    "another name": 'Op = Load\nOp(task_id="a", s3_bucket="b", s3_key="x", table="crm.people")',
    "functools.partial": 'import functools as f\nP = f.partial(Load, s3_bucket="b")\nP(task_id="a", s3_key="x", table="crm.people")',
    "expand_kwargs": 'Load.partial(task_id="a", s3_bucket="b").expand_kwargs([{"s3_key": "x", "table": "ref.a"}, {"s3_key": "y", "table": "crm.people"}])',
    "a mapping of operators": 'OPS = {"load": Load}\nOPS["load"](task_id="a", s3_bucket="b", s3_key="x", table="crm.people")',
    "a mapping by a name": 'OPS = {"none": print, "load": Load}\nOPS[kind](task_id="a", s3_bucket="b", s3_key="x", table="crm.people")',
    "a name out of a run": 'Load(s3_bucket="b", s3_key="x", table="crm.people", **settings())',
    "format": 'Load(task_id="a", s3_bucket="b", s3_key="x", table="{}.{t}".format("crm", t="people"))',
    "percent": 'T = "people"\nLoad(task_id="a", s3_bucket="b", s3_key="x", table="crm.%s" % T)',
    "get_records": 'hook.get_records("select ssn from crm.people")',
    "insert_rows": 'hook.insert_rows("crm.people", rows)',
    "to_sql": 'frame.to_sql("people", engine, schema="crm")',
    "get_object": 'client.get_object(Bucket="customer-lake", Key="people/a.csv")',
    "download by position": 'client.download_fileobj(Bucket="customer-lake", Key="people/a.csv", Fileobj=f)',
    "boto's order": 'client.download_file("customer-lake", "people/a.csv", "/data/x")',
}
SECRETS = {
    "bytes": 'password = b"S3cr3tPw9x"',
    "base64": 'password = base64.b64decode("UzNjcjN0UHc5eA==")',
    "strip": 'password = "S3cr3tPw9x".strip()',
    "a walrus": 'if (password := "S3cr3tPw9x"):\n    pass',
    "setattr": 'setattr(conn, "password", "S3cr3tPw9x")',
    "by position": 'V1EnvVar("DB_PASSWORD", "S3cr3tPw9x")',
    "the second one": 'password2 = "S3cr3tPw9x"',
    "several": 'passwords = ["S3cr3tPw9x"]',
    "pw": 'PW = "S3cr3tPw9x"',
    "format": 'URL = "postgresql://{}:{}@db/x".format("etl", "S3cr3tPw9x")',
    "percent": 'URL = "postgresql://%s:%s@db/x" % ("etl", "S3cr3tPw9x")',
}
FINE = [
    'hook.get_records("select count(*) from crm.people")',
    'hook.get_records("select code from ref.countries")',
    'hook.insert_rows("audit.runs", rows)',
    'frame.to_sql("counts", engine)',
    'client.get_object(Bucket="public", Key="a.csv")',
    'C = {"t": "crm.people"}\nprint(C["t"])',
    'class Mine(BaseOperator):\n    pass\nMine(task_id="a", table="crm.people")',
    'URL = "postgresql://%s:%s@db/x" % (user, password)',
    'URL = "postgresql://{}:{}@db/x".format(user, password)',
    'URL = "postgresql://{0}:{1}@db/x".format(conn.login, conn.password)',
    'password = conn.password.strip()',
    'password = base64.b64decode(os.environ["PASSWORD_B64"])',
    'if (password := os.getenv("PASSWORD")):\n    pass',
    'setattr(conn, "password", read())',
    'passwords = [conn.password]',
    'password2 = os.environ["PASSWORD2"]',
    'MESSAGE = "{} rows for {name}".format(3, name="a")\nSHARE = "%d %%" % 5',
    'from ssl import CERT_REQUIRED as needed\ncontext.verify_mode = needed',
    'X = "{!r:>10}".format(y)\nZ = "{0[a].b}".format(y)',
]  # fmt: skip


@pytest.mark.parametrize("habit", RESTRICTED)
def test_a_restricted_dataset_is_seen(habit: str) -> None:
    found, _ = check_source((HEAD + RESTRICTED[habit]).encode(), "dag.py", SEEDED, REGISTRY)
    assert {each.rule for each in found} & {"SP101"}, [each.reason for each in found]
    lines = (HEAD + RESTRICTED[habit]).splitlines()
    assert {lines[each.place.line - 1] for each in found if each.rule == "SP101"} == {lines[-1]}


def test_what_only_a_run_tells_is_told_of() -> None:
    found, _ = check_source((HEAD + "Load(**yaml.safe_load(text))").encode(), "dag.py", SEEDED, REGISTRY)
    assert [(each.rule, each.place.line) for each in found] == [("SP103", 2)]


@pytest.mark.parametrize("habit", SECRETS)
def test_a_secret_is_seen(habit: str) -> None:
    found, _ = check_source(SECRETS[habit].encode(), "dag.py", SEEDED, REGISTRY)
    assert [each.rule for each in found] in (["SP104"], ["SP105"])
    assert "S3cr3t" not in str(found)


def test_an_answer_for_one_secret_is_none_for_another_with_the_same_user() -> None:
    code = """USER = "etl"
ONE = f"postgresql://{USER}:S3cr3tPw9x@db/x"  # secure: ignore SP105 (a sandbox)
TWO = f"postgresql://{USER}:Oth3rPw9x@db/x"
create_engine(TWO)
"""
    found, answered = check_source(code.encode(), "dag.py", SEEDED, REGISTRY)
    assert [(each.rule, each.place.line) for each in found] == [("SP105", 3)]
    assert [each.place.line for each, _ in answered] == [2]


def test_a_check_that_is_off_is_seen_by_any_name() -> None:
    code = "from ssl import CERT_NONE as nothing\ncontext.verify_mode = nothing"
    found, _ = check_source(code.encode(), "dag.py", SEEDED, REGISTRY)
    assert [(each.rule, each.place.line) for each in found] == [("SP107", 2)]


@pytest.mark.parametrize("code", FINE)
def test_near_misses_are_left_alone(code: str) -> None:
    found, _ = check_source(code.encode(), "dag.py", SEEDED, REGISTRY)
    assert [each.reason for each in found if each.level is not Level.NOTE] == []


@pytest.mark.parametrize("content", ["kind: DataContract\nschema: [", "kind: DataContract\nschema: [{}]"])
def test_a_contract_that_can_t_be_read_is_no_pass(tmp_path: Path, content: str) -> None:
    """What it describes may be restricted: operators refuse, and so does this."""
    (tmp_path / "people.odcs.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match="nobody knows what its classes are"):
        Registry.read(tmp_path).whole()
    done = run(
        SEEDED / "s24_fine.py" if (SEEDED / "s24_fine.py").exists() else SEEDED, "--contracts", tmp_path
    )
    assert done.exit_code == 1
    assert "people.odcs.yaml' can't be read" in done.output
