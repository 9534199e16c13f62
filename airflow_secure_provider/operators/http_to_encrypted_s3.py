"""HTTP API → encrypt → S3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._to_encrypted_s3 import ToEncryptedS3Operator

if TYPE_CHECKING:
    from ..transfer import BytesSource
    from ._settings import LandingClients


class HttpToEncryptedS3Operator(ToEncryptedS3Operator):
    """Fetch from an HTTP API, and encrypt what it gives into an S3 object (AWS Encryption SDK) as it streams.

    No plaintext is written to a disk. The credentials come from the connection, so from your secrets backend, and go into
    headers only: an API key, a user with a password, or OAuth 2.0 client credentials, whose token is taken anew before it
    expires and after a 401. Requests are made again after 429, 5xx and broken connections; redirects, and pages on other
    hosts, are refused.

    :param target: ``s3://bucket/key``; see :class:`EncryptToS3Operator`, as for ``kms_keys``, ``raw_aes_key_conn_id``,
        ``encryption_context`` and ``contract``. (templated)
    :param endpoint: path below the connection's host, such as ``/v1/customers``. (templated)
    :param query_params: of the request's query. They show in Airflow's interface: no secrets, no personal data. (templated)
    :param headers: further ones. What belongs to authentication is refused here. (templated)
    :param records: where in each page the list of records is, as ``data.items``; ``""`` for the page itself. Then each
        record becomes a line of JSON. Without it the one answer is taken as it is.
    :param pagination: how a page tells of the next: ``{"type": "link"}`` (its ``Link`` header), ``{"type": "url", "at":
        "paging.next"}``, ``{"type": "cursor", "at": "meta.next", "param": "cursor"}``, ``{"type": "page", "param": "page",
        "first": 1}`` or ``{"type": "offset", "param": "offset"}``; each with ``max_pages``, 10,000 if not given.
    :param http_conn_id: host, schema and port of the API; in its extra ``auth`` (``oauth2``, ``api_key``, ``basic``,
        ``none``) and what that takes; see the page on it. (templated)
    """

    template_fields: Sequence[str] = (
        *ToEncryptedS3Operator.landing_fields,
        "endpoint",
        "query_params",
        "headers",
        "http_conn_id",
    )

    def __init__(
        self,
        *,
        endpoint: str = "",
        query_params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        records: str | None = None,
        pagination: Mapping[str, Any] | None = None,
        http_conn_id: str = "http_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.query_params = query_params
        self.headers = headers
        self.records = records
        self.pagination = pagination
        self.http_conn_id = http_conn_id

    def make_bytes(self, clients: LandingClients) -> BytesSource:
        from ..transfer import HttpApi, Pagination
        from ._http import check_headers, check_params

        return HttpApi(
            clients.http_access(self.http_conn_id),
            self.endpoint,
            check_params(self.query_params or {}, self.task_id),
            check_headers(self.headers or {}, self.task_id),
            records=self.records,
            pagination=Pagination.of(self.pagination) if self.pagination is not None else None,
        )
