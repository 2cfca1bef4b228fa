"""Key sets and tokens of each provider, with the members that its documentation shows. All keys are generated here."""

import json
import time
from base64 import b64encode
from typing import Any

import msgspec

from tests.tokens import Secret, Signer, SigningKey, base64url

Members = dict[str, Any]

UUID = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"


class Token(msgspec.Struct, frozen=True):
    """A token of the provider with changed members, and the status of the response."""

    what: str
    status: int
    header: Members = {}
    claims: Members = {}
    signer: Signer | None = None


class Provider(msgspec.Struct, frozen=True):
    """`keys` is the published key set. `jwks` is its path, if the recipe has a discovery URL."""

    name: str
    signer: Signer
    keys: list[Members]
    header: Members
    claims: Members
    tokens: list[Token]
    jwks: str = ""
    uuid: bool = True
    """Whether the user's id is `UUID`. Otherwise it is derived in a namespace."""

    def token(self, token: Token, issuer: str | None) -> bytes:
        """Sign the token with `issuer` as its `iss`, without the members that are None."""
        now = int(time.time())
        claims = {"iat": now, "exp": now + 3600} | self.claims | ({"iss": issuer} if issuer else {}) | token.claims
        parts = [_without_none(self.header | token.header), _without_none(claims)]
        signed = b".".join(base64url(json.dumps(part).encode()) for part in parts)
        return signed + b"." + base64url((token.signer or self.signer).sign(signed))


def _without_none(members: Members) -> Members:
    return {name: value for name, value in members.items() if value is not None}


def jwk(key: SigningKey, *order: str, **more: Any) -> Members:
    """The public key with the members that the provider publishes, in the provider's order."""
    members = key.jwk | more
    return {name: members[name] for name in order}


def certificate(key: SigningKey) -> list[str]:
    """A value of `x5c`, in base64 and not base64url. The service ignores it."""
    return [b64encode(key.jwk["n"].encode()).decode()]


def rsa(kid: str, pair: int = 0) -> SigningKey:
    return SigningKey("RS256", kid, pair)


BETTER_AUTH = SigningKey("EdDSA", "l8OMSEZxKKLnDBTgNWn9NgHnbmpGDW3u")
SUPABASE = SigningKey("ES256", "9c7ee2a6-6d5b-4f0c-8f0b-a6b1a64c59a5")
KEYCLOAK = rsa("qGqC4IcbO5ZJwqEJ0TRzEqLzeMIXOgLZHMzPpG0bX0Y")
KEYCLOAK_ENCRYPTION = rsa("Hg3tXJqBWO8y1sD8P3hTtqG2jKQz0J8k5bPnvVbS1Gc", 1)
ZITADEL = rsa("309998877665544332")
COGNITO, COGNITO_ID = rsa("Ct5g5/Zq+oW1bXG6d4mNnE8kJ3U="), rsa("5v9/8ZQm+RRWn2bS4cJtWq0xk1c=", 1)
ENTRA, ENTRA_OTHER = rsa("1LTMzakihiRla_8z2BEJVXeWMqo"), rsa("MTvNr86qiTkjHYnKPq-1bVtVqWE", 1)
AUTH0, AUTH0_NEXT = rsa("tPz3mNJsT2uX9vQ0eBfKd"), rsa("xR7hYcW1sLaO5gVnDjMqZ", 1)
CLERK = rsa("ins_2dVbTzYkQb6TzJmFvEuE3xq0yqK")
FIREBASE, FIREBASE_OTHER = (
    rsa("c8ab71530972bba20b49f78a09c9852c43ff9118"),
    rsa("8e8fc8e556f7a76d08d35829d6f90ae2e12cfd0d", 1),
)
OWN = Secret(b"the-output-of-openssl-rand-base64-32-on-both-sides")

STRANGER = {
    "EdDSA": SigningKey("EdDSA", "stranger"),
    "RS256": rsa("stranger", 2),
    "ES256": SigningKey("ES256", "stranger"),
}


def forged(signer: SigningKey) -> list[Token]:
    """Tokens that must be refused: signed by another key, with and without the key id of the provider, and expired."""
    other = STRANGER[signer.algorithm]
    return [
        Token("signed by another key", 401, signer=other),
        Token("with an unknown key id", 401, {"kid": "unknown"}, signer=other),
        Token("expired", 401, claims={"exp": int(time.time()) - 60}),
    ]


ROLES = {"realm_access": {"roles": [f"team-{number:03}-member" for number in range(400)]}}

PROVIDERS = [
    Provider(
        "Better Auth",
        BETTER_AUTH,
        [jwk(BETTER_AUTH, "alg", "crv", "x", "kty", "kid")],
        {"alg": "EdDSA", "kid": BETTER_AUTH.jwk["kid"]},
        {"name": "Ada", "email": "ada@example.org", "sub": UUID, "aud": "https://auth.example.com"},
        [
            Token("token of the jwt plugin", 200),
            Token("alg by its new name", 200, {"alg": "Ed25519"}),
            Token("of another service", 401, claims={"aud": "https://other.example.com"}),
            *forged(BETTER_AUTH),
        ],
    ),
    Provider(
        "Supabase",
        SUPABASE,
        [
            jwk(
                SUPABASE,
                "alg",
                "crv",
                "ext",
                "key_ops",
                "kid",
                "kty",
                "use",
                "x",
                "y",
                ext=True,
                key_ops=["verify"],
                use="sig",
            )
        ],
        {"alg": "ES256", "kid": SUPABASE.jwk["kid"], "typ": "JWT"},
        {
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": 1795651200}],
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "aud": "authenticated",
            "email": "ada@example.org",
            "is_anonymous": False,
            "phone": "",
            "role": "authenticated",
            "session_id": "6b1f4c1e-3f5a-4d58-9a90-0e3f6f0c2e11",
            "sub": UUID,
            "user_metadata": {"email_verified": True},
        },
        [
            Token("access token", 200),
            Token("access token of before anonymous users", 200, claims={"is_anonymous": None}),
            Token("of an anonymous user", 401, claims={"is_anonymous": True}),
            Token("service_role", 401, claims={"role": "service_role"}),
            Token("anon key", 401, claims={"role": "anon", "sub": None, "aud": None}),
            *forged(SUPABASE),
        ],
    ),
    Provider(
        "Keycloak",
        KEYCLOAK,
        [
            jwk(
                key,
                "kid",
                "kty",
                "alg",
                "use",
                "x5c",
                "x5t",
                "n",
                "e",
                alg=alg,
                use=use,
                x5t="dGh1bWI",
                x5c=certificate(key),
            )
            for key, alg, use in ((KEYCLOAK_ENCRYPTION, "RSA-OAEP", "enc"), (KEYCLOAK, "RS256", "sig"))
        ],
        {"alg": "RS256", "typ": "JWT", "kid": KEYCLOAK.jwk["kid"]},
        {
            "auth_time": 1795651200,
            "jti": "onrtac:9b0a1c4e-27ab-4b5d-8ad1-3f7c55d5f0c2",
            "aud": ["tasks", "account"],
            "sub": UUID,
            "typ": "Bearer",
            "azp": "web",
            "sid": "0f8b5d4e-4c07-4f6e-8b3a-2f7f1d0f9d11",
            "acr": "1",
            "allowed-origins": ["https://app.example.com"],
            "realm_access": {"roles": ["offline_access", "uma_authorization"]},
            "resource_access": {"account": {"roles": ["manage-account"]}},
            "scope": "openid email profile",
            "email_verified": True,
            "preferred_username": "ada",
        },
        [
            Token("access token", 200),
            Token("access token with 400 roles (11 KB)", 200, claims=ROLES),
            Token("of another client", 401, claims={"aud": "account"}),
            Token("ID token", 401, claims={"typ": "ID", "aud": "web"}),
            Token("ID token for this audience", 401, claims={"typ": "ID"}),
            Token("refresh token", 401, {"alg": "HS512"}, {"typ": "Refresh"}, Secret(b"k" * 64, "HS512")),
            *forged(KEYCLOAK),
        ],
        jwks="/protocol/openid-connect/certs",
    ),
    Provider(
        "Zitadel",
        ZITADEL,
        [jwk(ZITADEL, "use", "kty", "kid", "alg", "n", "e", use="sig")],
        {"alg": "RS256", "kid": ZITADEL.jwk["kid"], "typ": "JWT"},
        {
            "sub": "163840776835432705",
            "aud": ["259242039378444291@app", "259242039378444290"],
            "nbf": int(time.time()),
            "client_id": "259242039378444291@app",
            "jti": "V2_259242039378444295-at_259242039378444296",
        },
        [
            Token("access token (JWT)", 200),
            Token("of another project", 401, claims={"aud": ["123@app", "123"]}),
            *forged(ZITADEL),
        ],
        jwks="/oauth/v2/keys",
        uuid=False,
    ),
    Provider(
        "Cognito",
        COGNITO,
        [jwk(key, "alg", "e", "kid", "kty", "n", "use", use="sig") for key in (COGNITO_ID, COGNITO)],
        {"kid": COGNITO.jwk["kid"], "alg": "RS256"},
        {
            "sub": UUID,
            "client_id": "CLIENT",
            "origin_jti": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "event_id": "bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "token_use": "access",
            "scope": "aws.cognito.signin.user.admin",
            "auth_time": 1795651200,
            "jti": "cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "username": "ada",
        },
        [
            Token("access token", 200),
            Token("of another app client", 401, claims={"client_id": "OTHER"}),
            Token(
                "ID token",
                401,
                {"kid": COGNITO_ID.jwk["kid"]},
                {"token_use": "id", "aud": "CLIENT", "client_id": None},
                COGNITO_ID,
            ),
            *forged(COGNITO),
        ],
    ),
    Provider(
        "Entra ID",
        ENTRA,
        [
            jwk(key, "kty", "use", "kid", "x5t", "n", "e", "x5c", use="sig", x5t=key.jwk["kid"], x5c=certificate(key))
            for key in (ENTRA_OTHER, ENTRA)
        ],
        {"typ": "JWT", "alg": "RS256", "kid": ENTRA.jwk["kid"]},
        {
            "aud": "API-CLIENT-ID",
            "nbf": int(time.time()),
            "aio": "AXQAi/8TAAAA",
            "azp": "WEB-CLIENT-ID",
            "azpacr": "0",
            "oid": UUID,
            "rh": "0.AYEA",
            "scp": "Tasks.ReadWrite User.Read",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "tid": "11111111-2222-4333-8444-555555555555",
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "2.0",
        },
        [
            Token("access token", 200),
            Token("with x5t and no kid", 200, {"kid": None, "x5t": ENTRA.jwk["kid"]}),
            Token("for Microsoft Graph", 401, claims={"aud": "00000003-0000-0000-c000-000000000000"}),
            Token(
                "of an application without a user",
                401,
                claims={"scp": None, "roles": ["Tasks.ReadWrite"], "idtyp": "app"},
            ),
            Token("without the scope", 401, claims={"scp": "User.Read"}),
            *forged(ENTRA),
        ],
        jwks="https://login.microsoftonline.com/TENANT/discovery/v2.0/keys",
    ),
    Provider(
        "Auth0",
        AUTH0,
        [
            jwk(key, "kty", "use", "n", "e", "kid", "x5t", "x5c", "alg", use="sig", x5t="dGh1bWI", x5c=certificate(key))
            for key in (AUTH0, AUTH0_NEXT)
        ],
        {"alg": "RS256", "typ": "JWT", "kid": AUTH0.jwk["kid"]},
        {
            "sub": "auth0|65a1b2c3d4e5f6a7b8c9d0e1",
            "aud": ["https://tasks.example.com", "https://TENANT.eu.auth0.com/userinfo"],
            "azp": "WEB-CLIENT-ID",
            "scope": "openid profile",
        },
        [
            Token("access token", 200),
            Token("access token of RFC 9068", 200, {"typ": "at+jwt"}),
            Token("signed by the next key", 200, {"kid": AUTH0_NEXT.jwk["kid"]}, signer=AUTH0_NEXT),
            Token("ID token", 401, claims={"aud": "WEB-CLIENT-ID"}),
            Token("of an application without a user", 401, claims={"sub": "x@clients", "gty": "client-credentials"}),
            *forged(AUTH0),
        ],
        uuid=False,
    ),
    Provider(
        "Clerk",
        CLERK,
        [jwk(CLERK, "use", "kty", "kid", "alg", "n", "e", use="sig")],
        {"alg": "RS256", "cat": "cl_B7d4PD111AAA", "kid": CLERK.jwk["kid"], "typ": "JWT"},
        {
            "azp": "https://app.example.com",
            "fva": [0, -1],
            "nbf": int(time.time()) - 10,
            "sid": "sess_2vWbFk2Q7zF7tKqj7d4YgK3sQ1z",
            "sts": "active",
            "sub": "user_2vWbEyoJ6tXKx0tRZQJ2Hq5Tq3m",
            "v": 2,
        },
        [
            Token("session token", 200),
            Token("of another page", 401, claims={"azp": "https://other.example.com"}),
            Token("without azp", 401, claims={"azp": None}),
            *forged(CLERK),
        ],
        uuid=False,
    ),
    Provider(
        "Firebase",
        FIREBASE,
        [jwk(key, "n", "kid", "use", "kty", "e", "alg", use="sig") for key in (FIREBASE_OTHER, FIREBASE)],
        {"alg": "RS256", "kid": FIREBASE.jwk["kid"], "typ": "JWT"},
        {
            "aud": "PROJECT",
            "auth_time": 1795651200,
            "user_id": "XyZ0aBcDeFgHiJkLmNoPqRsTuV12",
            "sub": "XyZ0aBcDeFgHiJkLmNoPqRsTuV12",
            "email": "ada@example.org",
            "firebase": {"identities": {"email": ["ada@example.org"]}, "sign_in_provider": "password"},
        },
        [
            Token("ID token", 200),
            Token("of another project", 401, claims={"aud": "OTHER"}),
            Token("of an anonymous user", 401, claims={"provider_id": "anonymous"}),
            *forged(FIREBASE),
        ],
        uuid=False,
    ),
    Provider(
        "A backend of your own",
        OWN,
        [],
        {"alg": "HS256", "typ": "JWT"},
        {"sub": UUID},
        [
            Token("token", 200),
            Token("signed with another secret", 401, signer=Secret(b"x" * 32)),
            Token("expired", 401, claims={"exp": int(time.time()) - 60}),
            Token("without exp", 401, claims={"exp": None}),
            Token("alg none", 401, {"alg": "none"}),
        ],
    ),
]
