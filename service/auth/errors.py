"""Why a token has no user. What each means for an HTTP caller is decided in api/problems.py."""


class InvalidToken(Exception):
    """The token is absent, malformed, forged, expired, or meant for another service."""


class KeysUnavailable(Exception):
    """The issuer cannot be asked for the key that the token needs."""
