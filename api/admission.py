"""Who is let in: the one place that turns what a request or a socket shows into a `Caller`.

Shown is `Authorization: Bearer <token>` or `X-API-Key: <key>`, in the headers or, over a socket, in the parameters of
`connection_init`; never in an address, which ends up in logs. `Authorization: ApiKey <key>` is another way to say the
latter, for those who can set no other header, as Prometheus. Without sign-in everyone is `ANYONE`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from api.api_keys import CREDENTIAL, ApiKeys
from api.errors import NotAdmitted
from api.identity import ANYONE, Caller
from api.jwks import Jwks
from api.tokens import Terms, Tokens
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings

LOOK_EVERY_SECONDS = 5.0
"""How often files and key sets are asked whether they have changed: a key that is taken back ends within this."""

_HEADERS = {"authorization": True, "x-api-key": False}
"""Name -> whether it shows a token, and no key; of an Authorization, its scheme says so."""
_SCHEMES = {"bearer": True, "apikey": False}
"""Scheme of an Authorization -> the same."""
_PARAMETERS = {"authorization": True, "authtoken": True, "xapikey": False, "apikey": False}
"""The same for names without case, hyphens and underscores: `X-API-Key`, `x_api_key` and `xApiKey` are one."""
_NESTED = "headers"
"""Some clients wrap what they would send as headers once more."""


class Admission:
    """The door. Neither `tokens` nor `api_keys` is none at all: without sign-in."""

    def __init__(self, tokens: Tokens | None, api_keys: ApiKeys | None, keys: Jwks | None = None) -> None:
        self._tokens = tokens
        self._api_keys = api_keys
        self._keys = keys

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], int]) -> Admission:
        """The door that the settings describe. Raises `BadSetting`. `clock` gives UTC nanoseconds."""
        if settings.auth == "off":
            return cls(None, None)
        if not (settings.jwks or settings.api_keys or settings.token_secret):
            raise BadSetting(
                "PLIMSOLL_AUTH",
                "on, but nobody could sign in: set PLIMSOLL_JWKS or PLIMSOLL_API_KEYS, or PLIMSOLL_TOKEN_SECRET to try",
            )
        if settings.jwks and settings.token_secret:
            raise BadSetting(
                "PLIMSOLL_TOKEN_SECRET", "is for demonstrations, and PLIMSOLL_JWKS is set: take one of them away"
            )
        keys = Jwks.of(settings.jwks, settings.jwks_seconds, clock) if settings.jwks else None
        return cls(
            Tokens(terms_of(settings), keys, clock) if keys or settings.token_secret else None,
            ApiKeys(Path(settings.api_keys), clock) if settings.api_keys else None,
            keys,
        )

    @property
    def required(self) -> bool:
        """Whether there is sign-in."""
        return self._tokens is not None or self._api_keys is not None

    @property
    def troubles(self) -> list[str]:
        """What cannot be read at present of all that callers are known by."""
        sources = (("keys of tokens", self._keys), ("API keys", self._api_keys))
        return [f"{name}: {each.trouble}" for name, each in sources if each is not None and each.trouble is not None]

    async def run(self) -> None:
        """Keep up with keys that are added and taken back. Ends only by being cancelled."""
        while self.required:
            if self._api_keys is not None:
                await self._api_keys.refresh()
            if self._keys is not None:
                await self._keys.refresh_if_due()
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def request(self, headers: Mapping[str, str]) -> Caller:
        """Who sends a request. Raises `NotAdmitted`, and `Unavailable` while our keys cannot be read."""
        return await self._admit(_in_headers(headers)) if self.required else ANYONE

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether what a request shows needs no verifying: it was let in before and still is, or is an API key of ours.

        Nothing that is looked at here costs more than a hash.
        """
        return not self.required or self._knows(lambda: _in_headers(headers))

    def knows_socket(self, params: Mapping[str, object] | None, headers: Mapping[str, str]) -> bool:
        """The same of what the opening of a socket shows, as `socket` looks at it."""
        return not self.required or self._knows(lambda: _at_opening(params, headers))

    def _knows(self, read: Callable[[], list[tuple[bool, str]]]) -> bool:
        try:
            (is_token, credential), *others = read()
            if not is_token and self._api_keys is not None:
                self._api_keys.verify(credential)
                return not others
        except (NotAdmitted, ValueError):
            return False
        return is_token and not others and self._tokens is not None and self._tokens.knows(credential)

    async def socket(self, params: Mapping[str, object] | None, headers: Mapping[str, str]) -> Caller:
        """Who opens a socket: by what `connection_init` says, or by the headers of the upgrade where it says nothing.

        Raises as `request` does.
        """
        if not self.required:
            return ANYONE
        return await self._admit(_at_opening(params, headers))

    async def still(self, caller: Caller) -> bool:
        """Whether somebody who was let in would still be: long-lived streams ask every few seconds."""
        if not self.required:
            return True
        if caller.credential.startswith(CREDENTIAL):
            return self._api_keys is not None and self._api_keys.stands(caller)
        return self._tokens is not None and self._tokens.stands(caller)

    async def _admit(self, shown: list[tuple[bool, str]]) -> Caller:
        if not shown:
            raise NotAdmitted("sign in: send Authorization: Bearer <token>, or X-API-Key: <key>", presented=False)
        if len(shown) > 1:
            # Whoever stands between us and the caller might have gone by another one than we would.
            raise NotAdmitted("more than one token or API key; send one")
        (is_token, credential), *_ = shown
        if is_token and self._tokens is not None:
            return await self._tokens.verify(credential)
        if not is_token and self._api_keys is not None:
            return self._api_keys.verify(credential)
        raise NotAdmitted(f"no {'tokens' if is_token else 'API keys'} are taken here")


def terms_of(settings: Settings) -> Terms:
    """What the settings want a token to say."""
    return Terms(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        roles_claim=settings.jwt_roles_claim,
        advisor_claim=settings.jwt_advisor_claim,
        algorithms=settings.jwt_algorithms,
        secret=settings.token_secret,
    )


def is_shown_by(headers: Mapping[str, str]) -> bool:
    """Whether a request shows anything at all that is meant to let somebody in."""
    return any(name.lower() in _HEADERS for name in headers)


def _in_headers(headers: Mapping[str, str]) -> list[tuple[bool, str]]:
    """Everything in headers that is meant to let somebody in: whether it is a token, and it. Raises `NotAdmitted`."""
    found = []
    # Every one of them: a mapping of headers may hold a name twice.
    for name, value in headers.items():
        is_token = _HEADERS.get(name.lower())
        if is_token is not None:
            found.append(_authorization(value, bare=False) if is_token else (False, value.strip()))
    return found


def _at_opening(params: Mapping[str, object] | None, headers: Mapping[str, str]) -> list[tuple[bool, str]]:
    """What the opening of a socket shows: its parameters, or the headers of the upgrade where they show nothing."""
    return _in_parameters(params or {}) or _in_headers(headers)


def _in_parameters(params: Mapping[str, object]) -> list[tuple[bool, str]]:
    """The same in the parameters of a socket, where names vary and `Bearer` is often left out."""
    found = []
    for name, value in params.items():
        plain = name.lower().replace("-", "").replace("_", "")
        is_token = _PARAMETERS.get(plain)
        if plain == _NESTED and isinstance(value, dict):
            found += _in_parameters({inner: each for inner, each in value.items() if inner.lower() != _NESTED})
        elif is_token is not None and value is not None:
            if not isinstance(value, str):
                raise NotAdmitted("a token or an API key is a text")
            found.append(_authorization(value, bare=True) if is_token else (False, value.strip()))
    return found


def _authorization(value: str, *, bare: bool) -> tuple[bool, str]:
    """What an Authorization shows: whether it is a token, and it. `bare` takes a token without its scheme as well.

    Raises `NotAdmitted`.
    """
    scheme, space, shown = value.strip().partition(" ")
    if space and scheme.lower() in _SCHEMES:
        return _SCHEMES[scheme.lower()], shown.strip()
    if bare and not space and scheme.lower() not in ("", *_SCHEMES):
        return True, scheme
    raise NotAdmitted("Authorization is wanted in the form Bearer <token>, or ApiKey <key>")
