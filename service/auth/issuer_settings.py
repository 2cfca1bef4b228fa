"""Reads the settings of one or several issuers: the variables of one issuer, and the entries of JWT_ISSUERS.

JWT_ISSUERS is a JSON array of objects. Their members have the names of the variables, so that one page documents both.
It is a variable and not a file because the service reads all settings from its environment, and because a secret store
can provide it like JWT_SECRET.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from service.auth.claims import RequiredClaim, required_claims
from service.auth.shared_secrets import LENGTHS, is_public_key
from service.settings import Settings, SettingsError

ISSUER_VARIABLES = """JWT_SECRET JWT_SECRET_PREVIOUS JWKS_URL JWKS_FILE JWT_DISCOVERY_URL JWT_ISSUER JWT_AUDIENCE
JWT_USER_CLAIM JWT_USER_NAMESPACE JWT_REQUIRED_CLAIMS""".split()
"""The variables that describe one issuer. They are also the members of an entry of JWT_ISSUERS."""

KEY_SETS = ("JWKS_URL", "JWKS_FILE", "JWT_DISCOVERY_URL")

LOOPBACK = ("127.0.0.1", "::1", "localhost")

WELL_KNOWN = "/.well-known/openid-configuration"


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One issuer: its keys, and the claims that its tokens must have. Each error message begins with `error_prefix`."""

    error_prefix: str
    secrets: tuple[str, ...]
    jwks_url: str
    jwks_file: str
    discovery_url: str
    names: tuple[str, ...]
    """The accepted values of `iss`. If empty, any value is accepted."""
    audiences: tuple[str, ...]
    user_claim: str
    user_namespace: UUID | None
    required_claims: tuple[RequiredClaim, ...]

    @property
    def has_key_set(self) -> bool:
        return bool(self.jwks_url or self.jwks_file or self.discovery_url)


def read_issuers(settings: Settings) -> list[IssuerSettings]:
    """Return the issuers whose tokens are accepted. Raises SettingsError, whose message names the setting."""
    simple = {name: getattr(settings, name.lower()) for name in ISSUER_VARIABLES}
    entries = [("", simple)] if _has_key(simple) else []
    if settings.jwt_issuers:
        if not entries and (alone := [name for name in ISSUER_VARIABLES if simple[name] and name != "JWT_USER_CLAIM"]):
            raise SettingsError(f"{alone[0]} is set without a key: put it into the entries of JWT_ISSUERS")
        entries += [(f"JWT_ISSUERS, entry {n}: ", entry) for n, entry in enumerate(_entries(settings.jwt_issuers), 1)]
    if not entries:
        raise SettingsError("set JWT_SECRET, JWKS_URL, JWKS_FILE, JWT_DISCOVERY_URL or JWT_ISSUERS")
    issuers = [_issuer(error_prefix, entry, settings.jwks_allow_http) for error_prefix, entry in entries]
    _check_together(issuers, settings.jwt_shared_users)
    return issuers


def accepts_any_audience(issuers: Iterable[IssuerSettings]) -> bool:
    """Whether an issuer with a key set has neither a name nor an audience: any token that its keys sign is accepted."""
    return any(issuer.has_key_set and not issuer.names and not issuer.audiences for issuer in issuers)


def is_safe_url(url: str, allow_http: bool) -> bool:
    """Whether keys may be read from the URL: it is https, or http on loopback or with `allow_http`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # an invalid IPv6 address or port
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and (allow_http or host in LOOPBACK)))


def _has_key(values: Mapping[str, str]) -> bool:
    return any(values.get(name) for name in ("JWT_SECRET", *KEY_SETS))


def _entries(text: str) -> list[dict[str, str]]:
    try:
        entries = msgspec.json.decode(text, type=list[dict[str, str]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # these messages may quote the value
        raise SettingsError("JWT_ISSUERS is not a JSON array of objects whose members are strings") from None
    for number, entry in enumerate(entries, 1):
        if not entry.keys() <= set(ISSUER_VARIABLES):
            raise SettingsError(f"JWT_ISSUERS, entry {number}: a member is none of {', '.join(ISSUER_VARIABLES)}")
        if not _has_key(entry):
            raise SettingsError(
                f"JWT_ISSUERS, entry {number}: set JWT_SECRET, JWKS_URL, JWKS_FILE or JWT_DISCOVERY_URL"
            )
    return entries


def _issuer(error_prefix: str, values: Mapping[str, str], allow_http: bool) -> IssuerSettings:
    given = {name: values.get(name, "").strip() for name in ISSUER_VARIABLES}
    secrets = tuple(_secret(error_prefix, name, given[name]) for name in ISSUER_VARIABLES[:2] if given[name])
    if given["JWT_SECRET_PREVIOUS"] and not given["JWT_SECRET"]:
        raise SettingsError(f"{error_prefix}JWT_SECRET_PREVIOUS is set without JWT_SECRET")
    if len([name for name in KEY_SETS if given[name]]) > 1:
        raise SettingsError(f"{error_prefix}set only one of {', '.join(KEY_SETS)}")
    for name in ("JWKS_URL", "JWT_DISCOVERY_URL"):
        if given[name] and not is_safe_url(given[name], allow_http):
            raise SettingsError(
                f"{error_prefix}{name} is not an https URL (http is for loopback, or with JWKS_ALLOW_HTTP)"
            )
    if given["JWT_DISCOVERY_URL"] and not given["JWT_DISCOVERY_URL"].endswith(WELL_KNOWN):
        raise SettingsError(f"{error_prefix}JWT_DISCOVERY_URL does not end in {WELL_KNOWN}")
    names = _list(error_prefix, "JWT_ISSUER", given)
    namespace = _namespace(error_prefix, given["JWT_USER_NAMESPACE"])
    if namespace and not names and not given["JWT_DISCOVERY_URL"]:
        raise SettingsError(f"{error_prefix}JWT_USER_NAMESPACE needs JWT_ISSUER: a user's id is made from both")
    if namespace and any(name.split() != [name] for name in names):
        raise SettingsError(f"{error_prefix}JWT_ISSUER has a space in it, which JWT_USER_NAMESPACE does not allow")
    return IssuerSettings(
        error_prefix=error_prefix,
        secrets=secrets,
        jwks_url=given["JWKS_URL"],
        jwks_file=given["JWKS_FILE"],
        discovery_url=given["JWT_DISCOVERY_URL"],
        names=names,
        audiences=_list(error_prefix, "JWT_AUDIENCE", given),
        user_claim=given["JWT_USER_CLAIM"] or "sub",
        user_namespace=namespace,
        required_claims=required_claims(error_prefix, given["JWT_REQUIRED_CLAIMS"]),
    )


def _secret(error_prefix: str, name: str, secret: str) -> str:
    if len(secret.encode()) < LENGTHS["HS256"]:
        raise SettingsError(f"{error_prefix}{name} is shorter than {LENGTHS['HS256']} bytes")
    if is_public_key(secret):
        raise SettingsError(
            f"{error_prefix}{name} is a public key, a certificate or a JWK: anyone could sign tokens with it"
        )
    return secret


def _list(error_prefix: str, name: str, values: Mapping[str, str]) -> tuple[str, ...]:
    items = tuple(item.strip() for item in values[name].split(",")) if values[name] else ()
    if not all(items):
        raise SettingsError(f"{error_prefix}{name} has an empty item: it is a list, separated by commas")
    return items


def _namespace(error_prefix: str, text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise SettingsError(f"{error_prefix}JWT_USER_NAMESPACE is not a UUID") from None


def _check_together(issuers: list[IssuerSettings], shared_users: bool) -> None:
    """Refuse issuers with a common name (`iss` selects the keys) or with user ids that may be equal."""
    names: list[str] = []
    for issuer in issuers:
        own = issuer.names or discovered_names(issuer.discovery_url) or ("",)
        if any(name in names for name in own):
            again = (
                "one issuer at most may have no JWT_ISSUER" if "" in own else "an issuer before it has the same name"
            )
            raise SettingsError(f"{issuer.error_prefix}JWT_ISSUER: {again}")
        names += own
    plain = [issuer for issuer in issuers if not issuer.user_namespace]
    if len(plain) > 1 and not shared_users:
        raise SettingsError(
            f"{plain[1].error_prefix}JWT_USER_NAMESPACE is missing: the same id of two issuers would be one user. "
            "If it is, set JWT_SHARED_USERS=true"
        )


def discovered_names(url: str) -> tuple[str, ...]:
    """The names that the issuer of this discovery URL may have (OpenID Connect Discovery 1.0, section 4.3)."""
    name = url.removesuffix(WELL_KNOWN)
    return (name, f"{name}/") if url else ()
