"""The errors of authentication. api/exceptions.py decides which response each error becomes."""

REASONS = {
    "malformed": "The token is not a valid JWT.",
    "algorithm": "The token's algorithm is not accepted here.",
    "issuer": "The token's issuer is not accepted here.",
    "audience": "The token is for another audience.",
    "claim": "The token lacks a claim or value that is required here.",
    "user": "The token does not name a user.",
    "unknown_key": "The token's key is not one of its issuer's.",
    "signature": "The token's signature is not valid.",
    "expired": "The token has expired.",
    "not_yet_valid": "The token is not valid yet.",
}
"""Each reason to refuse a token, with the sentence that the client gets. The keys are labels of a metric."""


class InvalidToken(Exception):
    """The token is refused. `reason` is a key of REASONS. The message, for the log, quotes no part of the token."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or REASONS[reason])
        self.reason = reason


class TokenTooLarge(Exception):
    """The token is longer than MAX_TOKEN_BYTES. Signing in again does not help: the next token is as long."""


class KeysUnavailable(Exception):
    """The issuer's key set could not be read, so a token with an unknown key can neither be accepted nor refused."""
