"""Authentication: the Authorization header of a request -> its user.

`Authenticator` is the way in. `token.py` reads a token that is not verified yet, `keys.py` turns a JSON Web Key Set
into keys, `jwks.py` keeps the issuer's key set fresh, `fetch.py` downloads it. `authenticator.py` and `keys.py` alone
import jwt; `fetch.py` alone imports httpx, and is imported only when JWKS_URL is set.

Nothing here knows HTTP requests, responses or tasks: what an error means to a client is decided in api/problems.py.
Imported by `api`, `observability`, `dev` and the composition root.
"""
