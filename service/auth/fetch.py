"""Downloads key sets and discovery documents. Imported only when JWKS_URL or JWT_DISCOVERY_URL is set.

The only module that imports httpx.
"""

import logging
import ssl
from functools import cached_property

import httpx

for library in ("httpx", "httpcore"):  # they log each request with its URL at `info` and `debug`
    logging.getLogger(library).setLevel(logging.WARNING)


class Fetcher:
    """Downloads documents of at most `max_bytes`. The caller limits the time.

    Uses the proxies of HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and the certificates of the system or SSL_CERT_FILE.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        """The trusted certificates, loaded once in 20 to 40 ms. httpx loads its own for each client, even for http."""
        return ssl.create_default_context()

    async def fetch(self, url: str) -> bytes:
        """Return the body at `url`. Raises httpx.HTTPError, or ValueError for a status other than 200 or a large body.

        Redirects are not followed, because is_safe_url() did not check their targets. Each request has its own client,
        because an idle connection would stay open for minutes until the next request.
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}  # a compressed body could expand
        async with (
            httpx.AsyncClient(
                verify=self._certificates if httpx.URL(url).scheme == "https" else False,
                timeout=None,  # noqa: S113 - the caller limits the whole request; this would limit each step
                follow_redirects=False,
                headers=headers,
            ) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise ValueError(f"the issuer answered {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_bytes:
                    raise ValueError(f"it is larger than {self._max_bytes} bytes")
            return bytes(body)
