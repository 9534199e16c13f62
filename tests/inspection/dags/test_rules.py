"""What each rule finds and what it lets alone, a few lines each; whole DAGs are in seeded/."""

from __future__ import annotations

import ast
import importlib.util
import re
import time
from pathlib import Path

import pytest

from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.inspection.dags.checking import check_source
from airflow_secure_provider.inspection.dags.datasets import NAMES
from airflow_secure_provider.inspection.dags.model import Level

from .test_dags import SEEDED

REGISTRY = Registry.read(SEEDED / "contracts")
NAMING = re.compile(r"(?:table|bucket|key|prefix|sql|query|uri|schema)(?:_name)?$")
NO_DATASET = {  # of stores that no contract names yet, or no name at all
    "dynamodb_table_name",
    "dynamodb_tmp_table_prefix",
    "dynamodb_key_schema",
    "use_existing_table",
    "gcs_bucket",
    "mongo_query",
    "salesforce_query",
}
FOUND = [
    (
        "SP101",
        'DAG("x", default_args={"s3_bucket": "customer-lake"})\nSqlToS3Operator(task_id="a", query="x", s3_key="people/a")',
    ),
    ("SP101", 'ExasolToS3Operator(task_id="a", query_or_table="crm.people", key="k", bucket_name="b")'),
    (
        "SP101",
        'ExasolToS3Operator(task_id="a", query_or_table="select * from crm.people", key="k", bucket_name="b")',
    ),
    ("SP104", 'conn = Connection(conn_id="x", conn_type="postgres", login="etl", password="abc123!")'),
    (
        "SP104",
        'os.environ["AIRFLOW_CONN_CRM"] = \'{"conn_type":"postgres","login":"a","password":"s3cr3t1"}\'',
    ),
    ("SP105", 'os.environ["AIRFLOW_CONN_CRM"] = "postgresql://a:s3cr3t1@db/crm"'),
    ("SP104", 'requests.post(url, headers={"Authorization": "Bearer 8fj2kd93kfls02mfk39dk"})'),
    ("SP104", 'requests.post(url, headers={"X-API-Key": "8fj2kd93kfls02mfk39dk"})'),
    ("SP104", 'requests.post(url, auth=("etl", "hunter2hunter2"))'),
    ("SP104", 'HTTPBasicAuth("etl", "hunter2hunter2")'),
    (
        "SP104",
        'boto3.client("s3", aws_access_key_id="AKIAQ3EGSDFJ4PLMZ7QD", aws_secret_access_key=os.environ["K"])',
    ),
    (
        "SP104",
        'KubernetesPodOperator(task_id="x", env_vars=[k8s.V1EnvVar(name="DB_PASSWORD", value="hunter22")])',
    ),
    ("SP104", 'KubernetesPodOperator(task_id="x", env_vars={"DB_PASS": "hunter22"})'),
    (
        "SP104",
        "SnowflakeOperator(task_id=\"a\", sql=\"COPY INTO t FROM 's3://b/k' CREDENTIALS=(AWS_KEY_ID='AKIAQ3EGSDFJ4PLMZ7QD' AWS_SECRET_KEY='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')\")",
    ),
    ("SP104", 'SQLExecuteQueryOperator(task_id="a", sql="CREATE USER etl WITH PASSWORD \'hunter22\'")'),
    ("SP104", 'SSHHook(remote_host="h", username="u", password="pw12")'),
    ("SP104", 'fernet = Fernet("WnYq3t6w9zCFJNcRfUjXn2r5u8xADGKaPdSgVkYp3s6=")'),
    ("SP104", 'class C:\n    api_key: str = "8fj2kd93kfls02mfk39dk"'),
    ("SP104", 'cfg.update(dict(user="a", password="hunter22"))'),
    ("SP104", 'BashOperator(task_id="a", bash_command="mysql -u root -phunter22 -e \'select 1\'")'),
    ("SP104", 'BashOperator(task_id="a", bash_command="sshpass -p hunter22 scp a b")'),
    ("SP104", 'DAG("x", default_args={"db_password": "hunter22"})'),
    ("SP104", 'hvac.Client(url="https://v", token="hvs.CAESIJ1x8yK2mPq9LwZrT5vN3bA")'),
    ("SP104", 'webhook = "https://hooks.slack.com/services/T0ABCDE12/B0ABCDE12/abcdefghij1234567890abcd"'),
    ("SP106", 'PostgresHook(postgres_conn_id="x", options="-c x", sslmode="prefer")'),
    ("SP106", 'create_engine(u, connect_args={"sslmode": "disable"})'),
    ("SP106", 'Connection(conn_id="a", extra=json.dumps({"sslmode": "require"}))'),
    ("SP106", 'os.environ["PGSSLMODE"] = "allow"'),
    ("SP107", 'S3Hook(aws_conn_id="a", verify=False)'),
    ("SP107", "session = requests.Session()\nsession.verify = False"),
    (
        "SP107",
        "ctx = ssl.create_default_context()\nctx.check_hostname = False\nctx.verify_mode = ssl.CERT_NONE",
    ),
    ("SP107", 'HttpOperator(task_id="a", extra_options={"verify": False})'),
    ("SP107", "client = paramiko.SSHClient()\nclient.set_missing_host_key_policy(paramiko.AutoAddPolicy())"),
    ("SP107", "SFTPHook(no_host_key_check=True)"),
    ("SP108", 'S3Hook(endpoint_url="http://minio:9000")'),
    ("SP108", 'HttpSensor(task_id="a", endpoint="http://api.corp/x")'),
    ("SP108", 'BashOperator(task_id="a", bash_command="curl -s http://api.corp/x -o /dev/null")'),
    ("SP108", 'host = "http://" + name + ":8080/api"'),
    ("SP108", 'import smtplib\nsmtp = smtplib.SMTP("mail.corp", 25)'),
    ("SP108", 'import ftplib\nftp = ftplib.FTP("files.corp")'),
    ("SP109", 'def f():\n    p = S3Hook().download_file(key="a", bucket_name="b")'),
    ("SP109", 'def f():\n    with open("/tmp/out.csv", "w") as f:\n        f.write(x)'),
    ("SP109", 'def f():\n    df.to_parquet(Path("/tmp") / "x.parquet")'),
    ("SP109", 'TMP="/tmp/stage"\ndef f():\n    df.to_csv(f"{TMP}/people.csv")'),
    ("SP109", "def f():\n    fd, path = tempfile.mkstemp()\n    df.to_csv(path)"),
    ("SP109", 'BashOperator(task_id="a", bash_command="psql -c \'\\\\copy crm.people to /tmp/p.csv\'")'),
    ("SP109", 'BashOperator(task_id="a", bash_command="aws s3 cp s3://b/k /tmp/k.csv")'),
    (
        "SP109",
        'S3ToSFTPOperator(task_id="a", s3_bucket="open-data", s3_key="k", sftp_path="/tmp/x")\nSFTPOperator(task_id="b", local_filepath="/tmp/x.csv", remote_filepath="/in/x.csv")',
    ),
    ("SP101", 'PostgresToGCSOperator(task_id="a", sql="select * from crm.people", bucket="b", filename="f")'),
    (
        "SP101",
        'from airflow.providers.amazon.aws.transfers.redshift_to_s3 import RedshiftToS3Operator as R\nR(task_id="a", s3_bucket="b", s3_key="k", schema="crm", table="people")',
    ),
    (
        "SP101",
        'S3ToRedshiftOperator(task_id="a", schema="PUBLIC", table="x", s3_bucket="customer-lake", s3_key="people/")',
    ),
    ("SP101", 'GCSToS3Operator(task_id="a", gcs_bucket="g", dest_s3_key="s3://customer-lake/people/")'),
    (
        "SP101",
        'S3ListOperator(task_id="l", bucket="customer-lake")\nS3CopyObjectOperator(task_id="a", source_bucket_key="s3://customer-lake/people/x.csv", dest_bucket_key="s3://b/x.csv")',
    ),
    ("SP101", 'SQLTableTransferOperator(task_id="a", source_table="crm.people", target_table="x.y")'),
    ("SP101", 'def f():\n    df = PostgresHook("crm").get_pandas_df("select * from crm.people")'),
    ("SP101", 'def f():\n    pd.read_sql("select * from crm.people", engine).to_csv("s3://b/k")'),
    ("SP101", 'def f():\n    pd.read_csv("s3://customer-lake/people/a.csv").to_sql("x", e)'),
    ("SP101", 'def f():\n    S3Hook().read_key("people/a.csv", "customer-lake")'),
    ("SP101", 'def f():\n    PostgresHook("crm").copy_expert("COPY crm.people TO STDOUT", path)'),
    (
        "SP101",
        'SqlToS3Operator(task_id="a", query=QUERY.format(x=1), s3_bucket="open-data", s3_key="k")\nQUERY="select * from crm.people where x={x}"',
    ),
    (
        "SP101",
        'LocalFilesystemToS3Operator(task_id="a", filename="f", dest_bucket="customer-lake", dest_key="people/a.csv")',
    ),
    (
        "SP101",
        'SFTPToS3Operator(task_id="a", sftp_path="x", s3_bucket="customer-lake", s3_key="people/a.csv")',
    ),
]
# Nothing that fails a check; notes and missing contracts are left out.
LEFT_ALONE = [
    'Connection(conn_id="x", password=os.environ["CRM_PASSWORD"])',
    'PASSWORD_VARIABLE = "crm_password"',
    'password = Variable.get("crm_password")',
    'password = secrets["crm"]["password"]',
    'password = get_secret("kv/crm/password")',
    'get(password="{{ var.value.crm_password }}")',
    'get(password=f"{found}")',
    'get(password="")',
    'get(password="<your password>")',
    'get(password=None, token="${TOKEN}")',
    'token_url = "https://login.example.com/oauth2/token"',
    'get(secret="airflow/connections/crm", secret_name="crm-2026-credentials-a1")',
    'Secret(deploy_type="env", deploy_target="SQL_CONN", secret="airflow-secrets", key="sql_alchemy_conn")',
    'get(token="tokenize")',
    'get(next_token="page-2-of-17-of-it")',
    'columns = {"password": {"method": "drop"}, "token": {"method": "nullify"}}',
    'digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
    'image = "registry.example.com/team/etl@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
    'run("psql", env={"PGPASSFILE": "/run/secrets/pgpass"})',
    'BashOperator(task_id="a", bash_command="PGPASSWORD=$(cat /run/secrets/crm) psql")',
    'BashOperator(task_id="a", bash_command="curl -sS https://api.example.com/k -o out")',
    'print("the password: it is in Vault")',
    'if mode == "require":\n    pass',
    'get(sslmode="verify-full")',
    "get(sslmode=mode)",
    'requests.get("https://api.example.com", verify=True)',
    'requests.get("https://api.example.com", verify=os.environ["CA"])',
    "get(encrypted=False, replace=False)",
    'x = "http://localhost:8080/health"',
    'x = {"xmlns": "http://www.w3.org/2000/svg"}',
    'from airflow.sdk import DAG\nDAG("x", doc_md="http://wiki.example.com")',
    'import smtplib\nserver = smtplib.SMTP("mail.corp", 587)\nserver.starttls()',
    'open("/tmp/x.lock")',
    "def f():\n    return df.to_csv()",
    'BashOperator(task_id="a", bash_command="echo started > /tmp/started")',
    'BashOperator(task_id="a", bash_command="rm -rf /tmp/stage")',
    'def f():\n    PostgresHook("crm").get_first("select count(*) from crm.people")',
    'SQLExecuteQueryOperator(task_id="a", sql="insert into crm.people_clean select * from crm.people")',
    'GenericTransfer(task_id="a", sql="select code from ref.countries", destination_table="ref.countries")',
    'S3ToSqlOperator(task_id="a", s3_bucket="open-data", s3_key="people/a.csv", table="ref.countries")',
    'RevealColumnsOperator(task_id="a", source="crm.people", table="support.people", reveal=["email"])',
]


@pytest.mark.parametrize(("rule", "code"), FOUND)
def test_found(rule: str, code: str) -> None:
    standing, _ = check_source(code.encode(), "dag.py", SEEDED, REGISTRY)
    assert rule in [each.rule for each in standing]


@pytest.mark.parametrize("code", LEFT_ALONE)
def test_left_alone(code: str) -> None:
    standing, _ = check_source(code.encode(), "dag.py", SEEDED, REGISTRY)
    assert [each.reason for each in standing if each.level is not Level.NOTE] == []


def test_the_stock_operators_say_what_they_move_in_words_that_are_known() -> None:
    """A parameter that names an object, table or query in another word would not be seen. Read as source: some need more packages."""
    (folder,) = importlib.util.find_spec("airflow.providers.amazon.aws.transfers").submodule_search_locations
    unknown = set()
    for file in Path(folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Operator"):
                for made in node.body:
                    if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                        names = {each.arg for each in (*made.args.args, *made.args.kwonlyargs)}
                        unknown |= {each for each in names if NAMING.search(each)} - NAMES
    assert unknown == NO_DATASET


@pytest.mark.parametrize(
    "text",
    ["select from join copy curl -x a ", "a.b-c+", "copy a ( ", "unload('select ", "mysql a ", "{{ ", "/* ", "password ", "eyJ"],
)  # fmt: skip
def test_long_odd_texts_take_no_long_time(text: str) -> None:
    """A pattern that takes quadratic time needs minutes for these."""
    literal = text * (600_000 // len(text))
    code = f'''Q = """{literal}"""\nhook.get_df(Q)\nSQLExecuteQueryOperator(task_id="a", sql=Q)\n'''
    began = time.monotonic()
    check_source(code.encode(), "dag.py", SEEDED, REGISTRY)
    assert time.monotonic() - began < 20
