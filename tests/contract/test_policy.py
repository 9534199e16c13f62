"""What each class requires of columns, connections and stores."""

from __future__ import annotations

import itertools

import pytest

from airflow_secure_provider.contract.policy import BUILT_IN
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import (
    AtRest,
    Classification,
    ColumnRule,
    ColumnStatus,
    DatasetRef,
    DatasetStatus,
    Evidence,
    InTransit,
    Protection,
)

OBSERVED, DECLARED, UNKNOWN = Evidence.OBSERVED, Evidence.DECLARED, Evidence.UNKNOWN
VERIFIED = InTransit("TLSv1.3", peer_verified=True, evidence=OBSERVED)
UNVERIFIED = InTransit("TLSv1.3", peer_verified=False, evidence=OBSERVED)
UNASKED = InTransit("TLSv1.3", evidence=OBSERVED)
CLAIMED = InTransit("TLSv1.3", peer_verified=True, evidence=DECLARED)
PLAINTEXT = InTransit("none", evidence=OBSERVED)
NOTHING = InTransit()
CLIENT_SIDE = AtRest("client-side", evidence=OBSERVED)
CLASSES = list(Classification)
RANK = {name: rank for rank, name in enumerate(CLASSES)}


def rules(*classes: str) -> list[ColumnRule]:
    """A column of each class, protected where its class demands it."""
    return [
        ColumnRule(
            f"{name}_column",
            Classification(name),
            Protection.ENCRYPT if name == "restricted" else Protection.NONE,
        )
        for name in classes
    ]


def dataset(
    in_transit: InTransit = VERIFIED, at_rest: AtRest = CLIENT_SIDE, columns: tuple[ColumnStatus, ...] = ()
) -> DatasetStatus:
    ref = DatasetRef("s3://lake", "customers.csv", "s3://lake/customers.csv")
    return DatasetStatus(ref, at_rest, in_transit, columns)


def problem(classification: str, status: DatasetStatus, side: str) -> str:
    """The refusal, or nothing."""
    try:
        (BUILT_IN.check_source if side == "source" else BUILT_IN.check_target)(rules(classification), status)
    except ContractError as error:
        return str(error)
    return ""


# columns


@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize("classification", CLASSES)
def test_protections_of_a_class(classification: Classification, protection: Protection) -> None:
    strong = {"encrypt", "tokenize", "fpe", "pseudonymize", "redact", "nullify", "drop"}
    rule = ColumnRule("ssn", classification, protection)

    if classification != "restricted" or protection in strong:
        BUILT_IN.check_columns([rule])
        return
    has = "no protection" if protection == "none" else f"protection {protection}"
    with pytest.raises(ContractError) as caught:
        BUILT_IN.check_columns([rule])
    assert str(caught.value) == (
        f"column 'ssn' is restricted and has {has}; set one of encrypt, tokenize, fpe, pseudonymize, redact, nullify, drop"
    )


def test_each_class_requires_at_least_what_the_one_below_does() -> None:
    for lower, higher in itertools.pairwise(CLASSES):
        for requirement in ("tls", "peer_verified", "at_rest", "source_key_control"):
            assert getattr(BUILT_IN.requirements[higher], requirement) >= getattr(
                BUILT_IN.requirements[lower], requirement
            )
    assert set(BUILT_IN.requirements) == set(Classification)


# transport


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("classification", CLASSES)
@pytest.mark.parametrize(
    ("in_transit", "highest", "observed"),
    [
        (VERIFIED, "restricted", ""),
        (UNVERIFIED, "internal", "an unverified peer"),
        (UNASKED, "internal", "an unverified peer"),
        (CLAIMED, "public", "nothing that proves it"),
        (NOTHING, "public", "nothing that proves it"),
        (PLAINTEXT, "public", "plaintext"),
    ],
    ids=["verified", "unverified", "unasked", "claimed", "nothing", "plaintext"],
)
def test_transport(
    in_transit: InTransit, highest: str, observed: str, classification: Classification, side: str
) -> None:
    said = problem(classification, dataset(in_transit), side)

    if RANK[classification] <= RANK[Classification(highest)]:
        assert said == ""
        return
    assert said.startswith(
        f"{side} s3://lake/customers.csv: column '{classification}_column' is {classification}, so "
    )
    assert "the connection to s3://lake needs TLS" in said
    assert ("with a verified peer" in said) is (classification != "internal")
    assert f"observed {observed}: set sslmode=verify-full" in said


# storage


@pytest.mark.parametrize("classification", CLASSES)
@pytest.mark.parametrize(
    ("at_rest", "highest"),
    [
        (CLIENT_SIDE, "restricted"),
        (AtRest("SSE-S3", evidence=OBSERVED), "restricted"),
        (AtRest("volume", evidence=DECLARED), "restricted"),
        (AtRest("volume", evidence=UNKNOWN), "internal"),
        (AtRest("unknown", evidence=OBSERVED), "internal"),
        (AtRest("none", evidence=OBSERVED), "internal"),
        (AtRest("none", evidence=DECLARED), "internal"),
        (AtRest(), "internal"),
    ],
    ids=["client-side", "sse-s3", "declared", "no-evidence", "unknown", "none", "none-declared", "nothing"],
)
def test_target_at_rest(at_rest: AtRest, highest: str, classification: Classification) -> None:
    said = problem(classification, dataset(at_rest=at_rest), "target")

    if RANK[classification] <= RANK[Classification(highest)]:
        assert said == ""
        return
    assert said == (
        f"target s3://lake/customers.csv: column '{classification}_column' is {classification}, so the target must be "
        f"encrypted at rest; it is {at_rest.scheme} ({at_rest.evidence}): encrypt it, or declare what encrypts "
        "'s3://lake' under [secure_provider] declared_at_rest"
    )


@pytest.mark.parametrize(
    ("at_rest", "highest"),
    [
        (CLIENT_SIDE, "restricted"),
        (AtRest("SSE-KMS", evidence=OBSERVED), "restricted"),
        (AtRest("DSSE-KMS", evidence=OBSERVED), "restricted"),
        (AtRest("SSE-C", evidence=OBSERVED), "restricted"),
        (AtRest("SSE-S3", evidence=OBSERVED), "confidential"),
        (AtRest("volume", evidence=OBSERVED), "confidential"),
        (AtRest("SSE-KMS", evidence=DECLARED), "confidential"),
        (AtRest("client-side", evidence=DECLARED), "confidential"),
        (AtRest("SSE-KMS", evidence=UNKNOWN), "internal"),
        (AtRest("none", evidence=OBSERVED), "internal"),
        (AtRest(), "internal"),
    ],
    ids=[
        "client-side", "sse-kms", "dsse-kms", "sse-c", "sse-s3", "volume", "kms-declared", "client-declared",
        "kms-unknown", "none", "nothing",
    ],
)  # fmt: skip
@pytest.mark.parametrize("classification", CLASSES)
def test_source_at_rest(classification: Classification, at_rest: AtRest, highest: str) -> None:
    said = problem(classification, dataset(at_rest=at_rest), "source")

    assert (said == "") is (RANK[classification] <= RANK[Classification(highest)])
    if said and classification == "restricted":
        assert (
            "column 'restricted_column' is restricted, so the source must be client-side or customer-key encrypted; it "
            f"is {at_rest.scheme} ({at_rest.evidence}): write it with the AWS Encryption SDK, or store it under SSE-KMS"
        ) in said


def status(name: str, classification: str, protection: str) -> ColumnStatus:
    return ColumnStatus(name, Classification(classification), Protection(protection))


@pytest.mark.parametrize(
    ("columns", "accepted"),
    [
        ([status("ssn", "restricted", "encrypt")], True),
        ([status("ssn", "restricted", "tokenize"), status("id", "internal", "none")], True),
        ([status("ssn", "restricted", "redact"), status("card", "restricted", "nullify")], True),
        ([status("ssn", "restricted", "encrypt"), status("card", "restricted", "none")], False),
        ([status("ssn", "restricted", "encrypt"), status("card", "confidential", "none")], False),
        ([status("ssn", "restricted", "encrypt"), status("card", "confidential", "encrypt")], True),
        ([status("ssn", "restricted", "encrypt"), None], False),
        ([status("ssn", "restricted", "generalize")], False),
        ([None], False),
    ],
    ids=[
        "encrypted",
        "with-others",
        "redacted",
        "one-plain",
        "one-raised",
        "raised-cells",
        "one-unrecorded",
        "generalized",
        "unrecorded",
    ],
)
def test_a_source_whose_restricted_columns_are_cells_is_client_side_encrypted(
    columns: list[ColumnStatus | None], accepted: bool
) -> None:
    """What counts is the higher of the contract's class (restricted here, but for id) and the recorded one."""
    names = [column.name if column else "card" for column in columns]
    contract = [
        ColumnRule(
            name, Classification.INTERNAL if name == "id" else Classification.RESTRICTED, Protection.DROP
        )
        for name in names
    ]
    database = dataset(at_rest=AtRest("volume", evidence=DECLARED))
    states = {column.name: column for column in columns if column}
    said = ""
    try:
        BUILT_IN.check_source(contract, database, states)
    except ContractError as error:
        said = str(error)

    assert (said == "") is accepted


def test_the_strictest_column_counts() -> None:
    given = rules("public", "restricted", "internal")

    with pytest.raises(ContractError, match="column 'restricted_column' is restricted"):
        BUILT_IN.check_source(given, dataset(at_rest=AtRest("SSE-S3", evidence=OBSERVED)))


def test_every_unmet_requirement_is_said() -> None:
    said = problem("restricted", dataset(PLAINTEXT, AtRest("none", evidence=OBSERVED)), "source")

    assert "needs TLS with a verified peer; observed plaintext" in said
    assert "the source must be encrypted at rest; it is none (observed)" in said
    assert "the source must be client-side or customer-key encrypted" in said


# allow_insecure_transport


@pytest.mark.parametrize(
    "in_transit", [PLAINTEXT, UNVERIFIED, NOTHING], ids=["plaintext", "unverified", "nothing"]
)
@pytest.mark.parametrize("classification", ["confidential", "restricted"])
def test_insecure_transport_comes_back_as_a_warning(classification: str, in_transit: InTransit) -> None:
    given, target = rules(classification), dataset(in_transit)
    with pytest.raises(ContractError) as caught:
        BUILT_IN.check_target(given, target)

    (warning,) = BUILT_IN.check_target(given, target, allow_insecure_transport=True)

    assert warning.startswith(
        f"allow_insecure_transport=True: column '{classification}_column' is {classification}"
    )
    assert warning.removeprefix("allow_insecure_transport=True: ") in str(caught.value)


def test_secure_transport_gives_no_warning() -> None:
    assert BUILT_IN.check_target(rules("restricted"), dataset(), allow_insecure_transport=True) == []
    assert BUILT_IN.check_target(rules("public"), dataset(PLAINTEXT)) == []


def test_insecure_transport_waives_no_storage() -> None:
    with pytest.raises(ContractError, match="the target must be encrypted at rest"):
        BUILT_IN.check_target(
            rules("confidential"), dataset(PLAINTEXT, AtRest()), allow_insecure_transport=True
        )
