"""HTTP sessions that give up in bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT_SECONDS = 3.05  # just above TCP's first retransmission at 3 s
READ_TIMEOUT_SECONDS = 8.0
REVOKE_TIMEOUT_SECONDS = 3.0


def session(
    *,
    verify: bool | str = True,
    cert: Any = None,
    proxies: Any = None,
    retry_answers: bool = True,
    retry_connect: bool = True,
) -> requests.Session:
    """
    A session that gives up in bounded time.

    :param retry_connect: try again when no connection was made; not where there is little time.
    :param retry_answers: also try again when the request may have been carried out (no answer in time, 429, 5xx).
        Not for what issues leases: the answer that was lost may have been a credential, which nobody would revoke.
    """
    from requests import Session
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=2,
        connect=None if retry_connect else 0,
        read=1 if retry_answers else 0,
        status=2 if retry_answers else 0,
        other=0,
        backoff_factor=0.2,
        backoff_jitter=0.2,  # what failed together shall not come again together
        status_forcelist=[412, 429, 500, 502, 503] if retry_answers else [],
        raise_on_status=False,
        respect_retry_after_header=False,  # it may say an hour
    )
    made = Session()
    for scheme in ("https://", "http://"):
        made.mount(scheme, HTTPAdapter(max_retries=retry))
    made.verify, made.cert = verify, cert
    if proxies:
        made.proxies = dict(proxies)
    return made


def with_session(client: Any, own_session: Any, timeout: Any) -> Any:
    """The same login over another session; the login is not repeated."""
    import hvac

    adapter = client.adapter
    return hvac.Client(
        url=adapter.base_uri,
        token=adapter.token,
        namespace=adapter.namespace,
        session=own_session,
        verify=own_session.verify,
        timeout=timeout,
    )
