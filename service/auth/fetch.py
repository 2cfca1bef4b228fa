"""Downloads the issuer's key set. The only importer of httpx; imported only when JWKS_URL is set."""

import logging
import ssl
from functools import cached_property

import httpx

for library in ("httpx", "httpcore"):  # they log each request and the address, at `info` and `debug`
    logging.getLogger(library).setLevel(logging.WARNING)


class Fetcher:
    """Downloads documents of at most `max_bytes`. The caller bounds the time.

    Uses the proxies of HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and the certificates of the system or SSL_CERT_FILE.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        """Takes 20 to 40 ms to load. httpx would load them for each client, even if no address is https."""
        return ssl.create_default_context()

    async def fetch(self, url: str) -> bytes:
        """The body at `url`. Raises ValueError when the status is not 200 or the body is too large, httpx.HTTPError.

        A redirect is not followed: its target was never checked to be safe. The client is made for one request, so
        that no idle connection is kept until the next, minutes later.
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}  # a small body cannot grow by inflating
        async with (
            httpx.AsyncClient(
                verify=self._certificates if httpx.URL(url).scheme == "https" else False,
                timeout=None,  # noqa: S113 - the caller bounds the whole request; this would bound each step
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
