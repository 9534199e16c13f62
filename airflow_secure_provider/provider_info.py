"""What Airflow learns about this package; imports nothing, since every Airflow process reads it."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    return {
        "package-name": "airflow-secure-provider",
        "name": "Secure Provider",
        "description": "Data-pipeline security: encrypted loads, protected columns, leased credentials, "
        "lineage with evidence.",
        "secrets-backends": ["airflow_secure_provider.secrets.vault.VaultSecretsBackend"],
        "plugins": [
            {
                "name": "secure_provider",
                "plugin-class": "airflow_secure_provider.plugin.SecureProviderPlugin",
            },
        ],
        "cli": ["airflow_secure_provider.cli.get_commands"],
        "config": {
            "secure_provider": {
                "description": "Encryption evidence and protection of airflow-secure-provider.\n",
                "options": {
                    "declared_at_rest": {
                        "description": "What encrypts stores that can't be asked, as JSON: dataset namespace to "
                        "scheme, algorithm, key_provider and key_id. Only scheme is required. Shown in lineage "
                        "with the evidence 'declared'; a store that is not listed is 'unknown', and classes from "
                        "confidential up are refused there.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": '{"postgres://db.example.com:5432": {"scheme": "volume", '
                        '"algorithm": "AES-256-XTS", "key_provider": "aws-kms"}}',
                        "default": "",  # Airflow formats defaults, so no braces here
                    },
                    "rds_conn_id": {
                        "description": "An AWS connection that may call rds:DescribeDBInstances and rds:DescribeDBClusters. With it "
                        "our operators ask RDS and Aurora how a database rests, which then is observed. Empty for not "
                        "asking.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "aws_default",
                        "default": "",
                    },
                    "contracts": {
                        "description": "A local folder of data contracts (ODCS), also in folders below it. What they say of a dataset's "
                        "columns is then known whoever touches it: lineage of stock operators shows the classes, and a class that "
                        "would sink is flagged there and refused by our operators.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/contracts",
                        "default": "",
                    },
                    "dag_policy": {
                        "description": "What becomes of a DAG that breaks a rule of `airflow-secure check`: off (nobody looks), "
                        "warn (the log says so where it is parsed), or refuse (it is not loaded, and its import error says why).\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "refuse",
                        "default": "off",
                    },
                    "dag_policy_ignore": {
                        "description": "Ids of rules that dag_policy leaves out, with commas between them.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "SP108, SP109",
                        "default": "",
                    },
                    "lineage_store": {
                        "description": "Where the page 'Data protection' in Airflow's UI reads lineage events, for what "
                        "stock operators did: the URL of a Marquez server, file:///….jsonl on the API server, or "
                        "s3://bucket/key?aws_conn_id=…. Empty for what the metadata database knows alone.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://marquez.example.com",
                        "default": "",
                    },
                    "lease_journal": {
                        "description": "A local folder in which task processes note the ids of their leases for as long as "
                        "they have them, for `airflow-secure leases sweep`. Empty for secure_provider_leases below "
                        "AIRFLOW_HOME.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/var/lib/airflow/leases",
                        "default": "",
                    },
                    "class_policy": {
                        "description": "A class policy of your own: an absolute path, or s3://bucket/key. It says what "
                        "each class requires where that is more than the built-in policy does; and it may allow "
                        "generalize for restricted columns.\n",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/airflow/config/class-policy.yaml",
                        "default": "",
                    },
                },
            },
        },
    }
