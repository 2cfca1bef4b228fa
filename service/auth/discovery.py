"""OpenID Connect discovery: reads the issuer's name and the URL of its key set from one document."""

from collections.abc import Awaitable, Callable

import msgspec

from service.auth.issuer_settings import is_safe_url

Fetch = Callable[[str], Awaitable[bytes]]


class Configuration(msgspec.Struct):
    """The members of a discovery document that the service uses: OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    jwks_uri: str


async def discover(fetch: Fetch, url: str, names: tuple[str, ...], allow_http: bool) -> tuple[str, bytes]:
    """Return the issuer's name and its key set. Raises ValueError, msgspec.DecodeError or an error of `fetch`.

    The name must be one of `names`. Otherwise an issuer could sign tokens in the name of another issuer.
    """
    configuration = msgspec.json.decode(await fetch(url), type=Configuration)
    if configuration.issuer not in names:
        raise ValueError("its `issuer` is not the address before /.well-known: if it is right, set JWT_ISSUER to it")
    if not is_safe_url(configuration.jwks_uri, allow_http):
        raise ValueError("its `jwks_uri` is not an https URL")
    return configuration.issuer, await fetch(configuration.jwks_uri)
