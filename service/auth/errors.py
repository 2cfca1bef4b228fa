"""Why a request has no user. api/problems.py decides what each error means for an HTTP client."""


class InvalidToken(Exception):
    """The token is absent, malformed, forged, expired, or meant for another service."""


class KeysUnavailable(Exception):
    """The issuer's key set could not be read, so a token with an unknown key can be neither accepted nor refused."""
