"""Authentication: the Authorization header of a request -> its user.

`Authenticator` is the way in. It reads a token (`token.py`), selects the issuer by `iss` (`issuer.py`), lets it find
the key (`shared_secrets.py`, or `jwks.py` and `keys.py`) and has PyJWT verify the token. Only `authenticator.py`,
`keys.py` and `shared_secrets.py` import jwt. Only `fetch.py` imports httpx, and it is imported only for a URL.

Nothing here knows HTTP requests, responses or tasks: what an error means to a client is decided in api/problems.py.
Imported by `api`, `observability`, `dev` and the composition root.
"""
