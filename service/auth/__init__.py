"""Authentication: from the Authorization header of a request to its user.

`Authenticator` is the entry point. It reads the token (`token.py`), selects the issuer by `iss` (`issuer.py`), finds
the key (`shared_secrets.py`, or `jwks.py` and `keys.py`) and verifies the token with PyJWT. Only `authenticator.py`,
`keys.py` and `shared_secrets.py` import jwt. Only `fetch.py` imports httpx, and it is imported only when JWKS_URL or
JWT_DISCOVERY_URL is set.

No HTTP requests, responses or tasks here: api/exceptions.py decides which response an error becomes.
May import `db` (for its UUID type) and `settings`. Imported by `api`, `observability`, `app`, `server` and `dev`.
"""
