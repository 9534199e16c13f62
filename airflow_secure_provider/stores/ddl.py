"""The tables of schema ``secure_provider``. ``airflow-secure db init`` prints them; a database administrator runs it."""

DDL = """\
SET client_min_messages = warning;  -- what is there already is no news
CREATE SCHEMA IF NOT EXISTS secure_provider;

-- One row for each load. It goes in first, in the load's own transaction: a second loader of the same object waits on
-- the unique index until the first has committed or rolled back, and then sees it.
CREATE TABLE IF NOT EXISTS secure_provider.load_manifest (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target          text NOT NULL,
    source          text NOT NULL,
    source_version  text NOT NULL,
    contract_digest text NOT NULL,
    options         text NOT NULL,  -- SHA-256 of what decides about the rows: columns, protections, domains, parameters
    keysets         text NOT NULL,  -- 'customers:3': keyset and version that protected the rows
    mode            text NOT NULL,
    rows            bigint,
    task            text,
    loaded_at       timestamptz NOT NULL DEFAULT now(),
    superseded_at   timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS load_manifest_once ON secure_provider.load_manifest
    (target, source, source_version, options) WHERE superseded_at IS NULL;

-- How each column of a loaded table is protected.
CREATE TABLE IF NOT EXISTS secure_provider.column_state (
    target           text NOT NULL,
    column_name      text NOT NULL,
    classification   text NOT NULL,
    protection       text NOT NULL,
    domain           text,
    scope            text,
    keyset_id        text,
    key_version      integer,
    parameters       jsonb NOT NULL DEFAULT '{}',
    contract_id      text NOT NULL,
    contract_version text NOT NULL,
    contract_digest  text NOT NULL,
    changed_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, column_name)
);

-- What was revealed, by whom and what for. The role that reveals may add records, and neither change nor remove them.
CREATE TABLE IF NOT EXISTS secure_provider.reveal_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    event       text NOT NULL CHECK (event IN ('begun', 'done')),
    login       text NOT NULL DEFAULT session_user,
    acting_as   text NOT NULL DEFAULT current_user,
    task        text,
    purpose     text NOT NULL,
    source      text NOT NULL,
    target      text NOT NULL,
    columns     text[] NOT NULL,
    condition   text,  -- of the rows; null for all
    keyset_id   text NOT NULL,
    key_id      text NOT NULL,
    rows        bigint
);

-- Deterministic values that were moved to another key version, or are being moved.
CREATE TABLE IF NOT EXISTS secure_provider.reprotection (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    keyset_id    text NOT NULL,
    protection   text NOT NULL,
    domain       text NOT NULL,
    scope        text,
    parameters   jsonb NOT NULL,
    from_version integer NOT NULL,
    to_version   integer NOT NULL,
    task         text,
    began_at     timestamptz NOT NULL DEFAULT now(),
    done_at      timestamptz,
    rows         bigint
);

-- The new value of each old one, both ciphertext, until the move is done.
CREATE TABLE IF NOT EXISTS secure_provider.reprotection_value (
    job      bigint NOT NULL REFERENCES secure_provider.reprotection (id),
    old_hash bytea NOT NULL,  -- SHA-256
    new      bytea NOT NULL,
    PRIMARY KEY (job, old_hash)
);
"""


def grants(role: str) -> str:
    """What the role that loads needs on these tables."""
    name = '"' + role.replace('"', '""') + '"'
    return (
        f"GRANT USAGE ON SCHEMA secure_provider TO {name};\n"
        f"GRANT SELECT, INSERT, UPDATE ON secure_provider.load_manifest TO {name};\n"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON secure_provider.column_state TO {name};\n"
        f"GRANT INSERT ON secure_provider.reveal_log TO {name};\n"
        f"GRANT SELECT, INSERT, UPDATE ON secure_provider.reprotection TO {name};\n"
        f"GRANT SELECT, INSERT, DELETE ON secure_provider.reprotection_value TO {name};\n"
    )
