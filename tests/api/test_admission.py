"""Who is let in and who is not: tokens, API keys, and what HTTP says to those who stay outside."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import msgspec
import pytest

from api import api_keys
from api.admission import LOOK_EVERY_SECONDS, Admission
from api.errors import NotAdmitted
from api.identity import ANYONE, Caller, Role
from api.tokens import LEEWAY_SECONDS, TOKEN_SIZE_MAX, Terms, issue
from plimsoll.errors import BadSetting, Unavailable
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Client, Issuer, Make, Seed

pytestmark = pytest.mark.anyio
SECRET = "0123456789abcdef0123456789abcdef"


class Clock:
    """The real time, and whatever a test adds to it."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> int:
        return time.time_ns() + int(self.ahead_seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(redis_url: str, issuer: Issuer) -> Settings:
    """Sign-in by the tokens of an issuer."""
    return Settings(redis_url=redis_url, kafka_brokers="127.0.0.1:1", auth="on", jwks=str(issuer.path))


@pytest.fixture
def admission(settings: Settings, clock: Clock) -> Admission:
    return Admission.of(settings, clock)


async def refusal(admission: Admission, token: str) -> str:
    with pytest.raises(NotAdmitted) as refused:
        await admission.request({"Authorization": f"Bearer {token}"})
    assert token not in str(refused.value)
    return str(refused.value)


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kid", ["rsa-1", "ec-1", "ed-1"])
async def test_a_token_in_order_says_who_asks(admission: Admission, issuer: Issuer, kid: str) -> None:
    caller = await admission.request(issuer.bearer(kid=kid))
    assert (caller.subject, caller.roles, caller.advisor_id) == ("ada", {Role.ADVISOR}, "advisor-1")
    assert caller.view == "advisor-1"
    assert await admission.still(caller)


@pytest.mark.parametrize("roles", [["risk_manager", "operator", "astronaut"], "risk_manager operator astronaut"])
async def test_roles_are_a_list_or_words_and_others_are_somebody_elses(
    admission: Admission, issuer: Issuer, roles: object
) -> None:
    caller = await admission.request(issuer.bearer(roles=roles))
    assert caller.roles == {Role.RISK_MANAGER, Role.OPERATOR}
    # Whoever is no advisor has none, whatever the token says.
    assert (caller.advisor_id, caller.view) == (None, None)


async def test_claims_are_found_by_the_names_that_the_settings_give(issuer: Issuer, clock: Clock) -> None:
    admission = Admission.of(
        Settings(auth="on", jwks=str(issuer.path), jwt_roles_claim="groups", jwt_advisor_claim="desk"), clock
    )
    caller = await admission.request(issuer.bearer(groups=["advisor"], desk="desk-7", without=("roles", "advisor_id")))
    assert caller.view == "desk-7"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1_000}, "the token is expired"),
        ({"without": ("exp",)}, "the token has no end"),
        ({"exp": "soon"}, "the token is not valid"),
        ({"exp": True}, "the token is not valid"),
        ({"exp": 1e300}, "the token is not valid"),
        ({"nbf": 32_503_680_000}, "the token is not valid yet"),
        ({"iat": 32_503_680_000}, "the token is not valid yet"),
        ({"aud": "others"}, "the token is for another audience"),
        ({"aud": ["others", "plimsoll-too"]}, "the token is for another audience"),
        ({"aud": {"plimsoll": 1}}, "the token is for another audience"),
        ({"without": ("aud",)}, "the token is for another audience"),
        ({"iss": "others"}, "the token is of another issuer"),
        ({"without": ("iss",)}, "the token is of another issuer"),
        ({"without": ("sub",)}, "the token names no subject"),
        ({"sub": "a\nb"}, "the token names no subject"),
        ({"sub": "x" * 257}, "the token names no subject"),
        ({"roles": ["astronaut"]}, "the token names no role of ours"),
        ({"roles": [["advisor"]]}, "the token names no role of ours"),
        ({"without": ("roles",)}, "the token names no role of ours"),
        ({"without": ("advisor_id",)}, "the token names no advisor"),
        ({"advisor_id": "*"}, "the token names no advisor"),
        ({"advisor_id": ""}, "the token names no advisor"),
        ({"advisor_id": 1}, "the token names no advisor"),
        ({"roles": ["advisor", "operator"], "advisor_id": None}, "the token names no advisor"),
        ({"header": {"kid": "nobody"}}, "the token is not valid"),
        ({"header": {"kid": "ec-1"}}, "the token is not valid"),
        ({"header": {"kid": 7}}, "the token is not valid"),
        ({"header": {"crit": ["exp"], "exp": 1}}, "the token is not valid"),
        ({"header": {"typ": "logout+jwt"}}, "the token is not valid"),
    ],
)
async def test_a_token_that_is_not_in_order_is_refused_in_a_few_words(
    admission: Admission, issuer: Issuer, claims: dict[str, Any], reason: str
) -> None:
    if isinstance(claims.get("header", {}).get("kid"), int):
        token = by_hand({"alg": "RS256", "kid": 7}, {"sub": "ada"}, b"signed")
    else:
        token = issuer.token(**claims)
    assert (await refusal(admission, token)).startswith(reason)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: Any, claims: Any, signature: bytes = b"") -> str:
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, claims)]
    return ".".join([*map(encoded, parts), encoded(signature)])


def claims_of(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_a_token_without_a_signature_is_refused(admission: Admission, issuer: Issuer, algorithm: str) -> None:
    unsigned = by_hand({"alg": algorithm, "kid": "rsa-1"}, claims_of(issuer.token()))
    assert await refusal(admission, unsigned) == "the token is not valid"
    signed = by_hand({"alg": algorithm, "kid": "rsa-1"}, claims_of(issuer.token()), b"something")
    assert await refusal(admission, signed) == "the token is not valid"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_secret_to_sign_with(admission: Admission, issuer: Issuer, algorithm: str) -> None:
    hashed = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    for kid in issuer.keys:
        for secret in (issuer.public_pem(kid), json.dumps(issuer.jwk(kid)).encode()):
            for header in ({"alg": algorithm, "kid": kid}, {"alg": algorithm}):
                body = by_hand(header, claims_of(issuer.token())).removesuffix(".")
                forged = f"{body}.{encoded(hmac.digest(secret, body.encode(), hashed))}"
                assert await refusal(admission, forged) == "the token is not valid"


async def test_an_algorithm_that_is_not_chosen_is_refused_though_its_key_is_known(issuer: Issuer, clock: Clock) -> None:
    only_ec = Admission.of(Settings(auth="on", jwks=str(issuer.path), jwt_algorithms=("ES256",)), clock)
    await only_ec.request(issuer.bearer(kid="ec-1"))
    assert await refusal(only_ec, issuer.token(kid="rsa-1")) == "the token is not valid"


async def test_no_key_and_no_address_that_a_token_brings_along_is_looked_at(
    admission: Admission, issuer: Issuer, tmp_path: Path
) -> None:
    stranger = issuer.stranger(tmp_path / "strangers.json")
    brought = {
        "jwk": stranger.jwk("rsa-1"),
        "jku": stranger.path.as_uri(),
        "x5u": stranger.path.as_uri(),
        "x5c": ["MIIB"],
    }
    assert await refusal(admission, stranger.token(header=brought)) == "the token is not valid"
    # Ours with the same headers is still ours: they are not followed, and not a reason to refuse either.
    await admission.request(issuer.bearer(header=brought))


async def test_names_that_stand_twice_are_refused_wherever_they_stand(admission: Admission, issuer: Issuer) -> None:
    private, _ = issuer.keys["rsa-1"]
    claims = json.dumps(claims_of(issuer.token()))
    twice = (claims[:-1] + ', "advisor_id": "advisor-2"}').encode()
    signed = jwt.PyJWS().encode(twice, private, algorithm="RS256", headers={"kid": "rsa-1"})
    assert await refusal(admission, signed) == "the token is not valid"
    header = b'{"alg": "RS256", "kid": "rsa-1", "alg": "none"}'
    assert await refusal(admission, by_hand(header, claims.encode(), b"x")) == "the token is not valid"


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "a.b",
        "a.b.c.d",
        "e30.e30.e30",
        "e30.e30.",
        "..",
        "{}.{}.{}",
        "eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
        by_hand([], {}, b"x"),
        by_hand(b"\xff\xfe", {}, b"x"),
        by_hand(b"[" * 4_000, {}, b"x"),
        by_hand(b'{"alg": ' + b"9" * 5_000 + b"}", {}, b"x"),
        by_hand(b'{"alg": NaN}', {}, b"x"),
        by_hand({"alg": "RS256", "kid": "rsa-1", "typ": 7}, {}, b"x"),
    ],
    ids=lambda token: token[:12],
)
async def test_what_is_no_token_at_all_is_refused(admission: Admission, token: str) -> None:
    await refusal(admission, token)


async def test_a_token_signed_by_us_whose_claims_are_none_is_refused(admission: Admission, issuer: Issuer) -> None:
    private, _ = issuer.keys["rsa-1"]
    for payload in (b"[]", b"{", b"\xff", b'{"exp": NaN}', b"[" * 2_000):
        signed = jwt.PyJWS().encode(payload, private, algorithm="RS256", headers={"kid": "rsa-1"})
        assert await refusal(admission, signed) == "the token is not valid"


async def test_a_huge_token_is_not_even_read(admission: Admission, issuer: Issuer) -> None:
    huge = issuer.token(note="x" * TOKEN_SIZE_MAX)
    assert "longer than" in await refusal(admission, huge)


async def test_a_changed_letter_anywhere_is_noticed(admission: Admission, issuer: Issuer) -> None:
    token = issuer.token(kid="ed-1")
    for at in range(0, len(token) - 1, 7):
        if token[at] != ".":
            other = "A" if token[at] != "A" else "B"
            await refusal(admission, token[:at] + other + token[at + 1 :])


async def test_a_caller_ends_with_the_token(admission: Admission, issuer: Issuer, clock: Clock) -> None:
    token = issuer.token(exp=int(time.time()) + 60)
    caller = await admission.request({"authorization": f"Bearer {token}"})
    clock.ahead_seconds = 60 + LEEWAY_SECONDS + 2
    assert not await admission.still(caller)
    # Having been known does not help.
    assert await refusal(admission, token) == "the token is expired"


async def test_a_key_that_its_issuer_withdraws_ends_its_tokens(
    admission: Admission, issuer: Issuer, clock: Clock
) -> None:
    token = issuer.token()
    caller = await admission.request({"authorization": f"Bearer {token}"})
    issuer.publish("ec-1", "ed-1")
    clock.ahead_seconds = LOOK_EVERY_SECONDS + 1
    assert admission._keys is not None
    await admission._keys.refresh_if_due()
    assert not await admission.still(caller)
    assert await refusal(admission, token) == "the token is not valid"
    assert (await admission.request(issuer.bearer(kid="ec-1"))).subject == "ada"


async def test_another_key_under_the_same_id_does_not_keep_the_old_tokens_alive(
    admission: Admission, issuer: Issuer, clock: Clock
) -> None:
    caller = await admission.request(issuer.bearer())
    old = issuer.token()
    issuer.keys["rsa-1"] = issuer.stranger(issuer.path).keys["rsa-1"]
    issuer.publish()
    clock.ahead_seconds = LOOK_EVERY_SECONDS + 1
    assert admission._keys is not None
    await admission._keys.refresh_if_due()
    assert not await admission.still(caller)
    assert await refusal(admission, old) == "the token is not valid"


# --- demo tokens ------------------------------------------------------------------------------------------------------


def demo(clock: Clock) -> Admission:
    return Admission.of(Settings(auth="on", token_secret=SECRET), clock)


async def test_a_demo_token_is_taken_where_its_secret_is_known(clock: Clock, issuer: Issuer) -> None:
    who = Caller("ada", frozenset({Role.ADVISOR}), "advisor-1", time.time() + 900)
    token = issue(Terms("plimsoll", "plimsoll", secret=SECRET), who, time.time())
    caller = await demo(clock).request({"authorization": f"bearer {token}"})
    assert (caller.subject, caller.view) == ("ada", "advisor-1")
    assert await refusal(Admission.of(Settings(auth="on", jwks=str(issuer.path)), clock), token)
    other = issue(Terms("plimsoll", "plimsoll", secret=SECRET[::-1]), who, time.time())
    assert await refusal(demo(clock), other) == "the token is not valid"
    # With a secret, nobody signs with keys.
    assert await refusal(demo(clock), issuer.token()) == "the token is not valid"


def test_a_secret_and_public_keys_do_not_go_together(issuer: Issuer, clock: Clock) -> None:
    with pytest.raises(BadSetting, match="PLIMSOLL_TOKEN_SECRET") as refused:
        Admission.of(Settings(auth="on", jwks=str(issuer.path), token_secret=SECRET), clock)
    assert SECRET not in str(refused.value)


def test_sign_in_that_nobody_could_pass_is_refused(clock: Clock) -> None:
    with pytest.raises(BadSetting, match="nobody could sign in"):
        Admission.of(Settings(auth="on"), clock)


# --- API keys ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def write(path: Path, *lines: dict[str, Any] | str) -> None:
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    path.write_text("# ours\n\n" + text + "\n", encoding="utf-8")


def key_and_line(**stated: Any) -> tuple[str, dict[str, Any]]:
    key, digest = api_keys.make()
    return key, {"name": "desk", "sha256": digest, "roles": ["advisor"], "advisor_id": "advisor-1"} | stated


def keyed(path: Path, clock: Clock) -> Admission:
    return Admission.of(Settings(auth="on", api_keys=str(path)), clock)


@pytest.mark.parametrize("scheme", ["ApiKey", "apikey", "APIKEY"])
async def test_an_api_key_may_stand_in_the_one_header_that_prometheus_can_send(
    key_file: Path, clock: Clock, scheme: str
) -> None:
    key, line = key_and_line()
    write(key_file, line)
    admission = keyed(key_file, clock)
    shown = {"Authorization": f"{scheme} {key}"}
    assert (await admission.request(shown)).subject == "desk"
    assert admission.knows(shown)
    assert (await admission.socket(shown, {})).subject == "desk"
    for wrong in (f"{scheme} {key[:-1]}", scheme, f"{scheme}{key}", f"Bearer {key}", f"Basic {key}"):
        with pytest.raises(NotAdmitted) as refused:
            await admission.request({"Authorization": wrong})
        assert key[:-1] not in str(refused.value)
    with pytest.raises(NotAdmitted, match="more than one"):
        await admission.request({**shown, "X-API-Key": key})


async def test_an_api_key_says_who_asks_until_its_line_is_taken_out(key_file: Path, clock: Clock) -> None:
    key, line = key_and_line()
    write(key_file, line)
    admission = keyed(key_file, clock)
    caller = await admission.request({"X-API-Key": key})
    assert (caller.subject, caller.view) == ("desk", "advisor-1")
    assert await admission.still(caller)
    write(key_file)
    assert admission._api_keys is not None
    await admission._api_keys.refresh()
    assert not await admission.still(caller)
    with pytest.raises(NotAdmitted):
        await admission.request({"X-API-Key": key})
    assert LOOK_EVERY_SECONDS <= 15


async def test_whose_key_is_given_other_roles_has_to_come_again(key_file: Path, clock: Clock) -> None:
    key, line = key_and_line()
    write(key_file, line)
    admission = keyed(key_file, clock)
    caller = await admission.request({"X-API-Key": key})
    write(key_file, line | {"advisor_id": "advisor-22"})
    assert admission._api_keys is not None
    await admission._api_keys.refresh()
    assert not await admission.still(caller)
    assert (await admission.request({"X-API-Key": key})).view == "advisor-22"


async def test_an_api_key_may_have_an_end(key_file: Path, clock: Clock) -> None:
    key, line = key_and_line(expires="2100-01-01T00:00:00Z")
    write(key_file, line)
    admission = keyed(key_file, clock)
    caller = await admission.request({"X-API-Key": key})
    clock.ahead_seconds = 100 * 366 * 86_400
    assert not await admission.still(caller)
    with pytest.raises(NotAdmitted, match="expired"):
        await admission.request({"X-API-Key": key})


@pytest.mark.parametrize(
    "change", [str.lower, str.upper, lambda key: key[:-1], lambda key: key + "A", lambda _: "plim_"]
)
async def test_a_key_that_is_nearly_one_is_none(key_file: Path, clock: Clock, change: Any) -> None:
    key, line = key_and_line()
    write(key_file, line)
    with pytest.raises(NotAdmitted, match="not valid") as refused:
        await keyed(key_file, clock).request({"X-API-Key": change(key)})
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha256": "short"}, "line 3"),
        ({"roles": []}, "line 3"),
        ({"roles": ["astronaut"]}, "line 3"),
        ({"name": "two words"}, "line 3"),
        ({"advisor_id": None}, "go together"),
        ({"roles": ["operator"]}, "go together"),
        ({"expires": "2100-01-01T00:00:00"}, "line 3"),
        ({"note": "x"}, "line 3"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start_and_names_the_line(
    key_file: Path, clock: Clock, change: dict[str, Any], reason: str
) -> None:
    _, line = key_and_line(**change)
    write(key_file, line)
    with pytest.raises(BadSetting, match=reason) as refused:
        keyed(key_file, clock)
    assert refused.value.key == "PLIMSOLL_API_KEYS"
    assert line["sha256"] not in str(refused.value)


def test_a_file_that_is_not_there_stops_the_start(key_file: Path, clock: Clock) -> None:
    with pytest.raises(BadSetting, match=r"keys\.jsonl"):
        keyed(key_file, clock)


@pytest.mark.parametrize("same", ["name", "sha256"])
def test_no_two_lines_have_the_same_name_or_key(key_file: Path, clock: Clock, same: str) -> None:
    _, one = key_and_line()
    _, two = key_and_line(name="other")
    write(key_file, one, two | {same: one[same]})
    with pytest.raises(BadSetting, match="line 4"):
        keyed(key_file, clock)


async def test_an_edit_that_is_wrong_leaves_the_keys_as_they_were(
    key_file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key, line = key_and_line()
    write(key_file, line)
    admission = keyed(key_file, clock)
    assert admission._api_keys is not None
    write(key_file, "{")
    await admission._api_keys.refresh()
    await admission._api_keys.refresh()
    assert [record.levelname for record in caplog.records if record.name == "api.api_keys"] == ["ERROR"]
    assert admission.troubles
    caller = await admission.request({"X-API-Key": key})
    write(key_file, line, "# mended")
    await admission._api_keys.refresh()
    assert not admission.troubles
    assert await admission.still(caller)


# --- where they may stand ---------------------------------------------------------------------------------------------


@pytest.fixture
def both(key_file: Path, issuer: Issuer, clock: Clock) -> tuple[Admission, str]:
    key, line = key_and_line()
    write(key_file, line)
    return Admission.of(Settings(auth="on", jwks=str(issuer.path), api_keys=str(key_file)), clock), key


@pytest.mark.parametrize(
    "name", ["Authorization", "authorization", "AUTHORIZATION", "authToken", "auth_token", "headers"]
)
async def test_a_socket_says_who_it_is_by_any_of_the_usual_names(
    both: tuple[Admission, str], issuer: Issuer, name: str
) -> None:
    shown = f"Bearer {issuer.token()}"
    params: dict[str, object] = {"other": 1, name: {"Authorization": shown} if name == "headers" else shown}
    assert (await both[0].socket(params, {})).subject == "ada"


async def test_a_socket_may_leave_bearer_out_or_show_a_key_or_use_the_headers_of_its_upgrade(
    both: tuple[Admission, str], issuer: Issuer
) -> None:
    admission, key = both
    assert (await admission.socket({"authToken": issuer.token()}, {})).subject == "ada"
    for name in ("X-API-Key", "x-api-key", "x_api_key", "apiKey"):
        assert (await admission.socket({name: key}, {})).subject == "desk"
    assert (await admission.socket(None, issuer.bearer())).subject == "ada"
    assert (await admission.socket({"authorization": None}, {"x-api-key": key})).subject == "desk"
    # What it says itself comes before what its upgrade said.
    assert (await admission.socket({"X-API-Key": key}, issuer.bearer())).subject == "desk"


@pytest.mark.parametrize(
    "params", [{"Authorization": 7}, {"authToken": ["x"]}, {"headers": {"headers": {"Authorization": "x"}}}, {}]
)
async def test_a_socket_that_says_nothing_we_understand_is_not_let_in(
    both: tuple[Admission, str], params: dict[str, object]
) -> None:
    with pytest.raises(NotAdmitted):
        await both[0].socket(params, {})


async def test_one_credential_at_a_time(both: tuple[Admission, str], issuer: Issuer) -> None:
    admission, key = both
    with pytest.raises(NotAdmitted, match="more than one"):
        await admission.request({**issuer.bearer(), "x-api-key": key})


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "Token abc", "eyJ.eyJ.abc"])
async def test_only_bearer_is_a_scheme(admission: Admission, value: str) -> None:
    with pytest.raises(NotAdmitted):
        await admission.request({"authorization": value})


async def test_what_is_not_taken_here_is_said_to_be_so(key_file: Path, issuer: Issuer, clock: Clock) -> None:
    write(key_file)
    with pytest.raises(NotAdmitted, match="no tokens are taken"):
        await keyed(key_file, clock).request(issuer.bearer())
    with pytest.raises(NotAdmitted, match="no API keys are taken"):
        await demo(clock).request({"x-api-key": "plim_x"})


async def test_without_sign_in_everyone_is_anyone(clock: Clock) -> None:
    open_door = Admission.of(Settings(), clock)
    assert await open_door.request({}) is ANYONE
    assert await open_door.socket(None, {}) is ANYONE
    assert await open_door.still(ANYONE)
    await open_door.run()


async def test_whoever_never_signed_in_does_not_stay(admission: Admission) -> None:
    assert not await admission.still(ANYONE)


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/live", "/ready", "/docs", "/openapi.json", "/favicon.ico"])
async def test_what_tells_nothing_of_portfolios_is_open(client: Client, path: str) -> None:
    assert (await client.http.get(path)).status_code == 200


async def test_the_page_of_graphiql_is_open_and_its_questions_are_not(client: Client) -> None:
    html = {"accept": "text/html"}
    assert (await client.http.get("/graphql", headers=html)).headers["content-type"].startswith("text/html")
    for query in ({"query": "{ __typename }"}, {"query": ""}, {"extensions": "{}"}):
        assert (await client.http.get("/graphql", params=query, headers=html)).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/risk/p-1", "/no/such/route", "/live/", "/metrics/summary"])
async def test_everything_else_is_shut(client: Client, path: str) -> None:
    response = await client.http.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="plimsoll"'
    assert set(response.json()) == {"error", "detail", "timestamp"}


async def test_a_token_that_is_refused_is_answered_with_the_reason(client: Client, issuer: Issuer) -> None:
    response = await client.http.get("/health", headers=issuer.bearer(exp=1_000))
    assert response.status_code == 401
    assert response.json()["detail"] == "the token is expired"
    assert response.headers["www-authenticate"] == (
        'Bearer realm="plimsoll", error="invalid_token", error_description="the token is expired"'
    )


async def test_a_token_in_an_address_is_none(client: Client, issuer: Issuer) -> None:
    for name in ("access_token", "authorization", "token", "x-api-key"):
        assert (await client.http.get("/health", params={name: issuer.token()})).status_code == 401


async def test_two_authorizations_are_one_too_many(client: Client, issuer: Issuer) -> None:
    twice = [("authorization", f"Bearer {issuer.token()}")] * 2
    assert (await client.http.get("/health", headers=twice)).status_code == 401


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
async def test_graphql_refuses_in_its_own_words(client: Client, accept: str) -> None:
    response = await client.http.post("/graphql", json={"query": "{ __typename }"}, headers={"accept": accept})
    assert response.status_code == 401
    assert response.headers["content-type"] == accept
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_metrics_are_for_operators_and_for_this_machine(client: Client, issuer: Issuer) -> None:
    # The transport of the tests says that it is 127.0.0.1.
    assert (await client.http.get("/metrics")).status_code == 200
    through_a_proxy = {"x-forwarded-for": "203.0.113.7"}
    assert (await client.http.get("/metrics", headers=through_a_proxy)).status_code == 401
    advisor = await client.http.get("/metrics", headers={**through_a_proxy, **issuer.bearer()})
    assert advisor.status_code == 403
    operator = await client.http.get("/metrics", headers={**through_a_proxy, **issuer.bearer(roles=["operator"])})
    assert operator.status_code == 200


async def test_how_much_risk_there_is_is_in_no_metric_for_those_who_may_not_see_it(
    client: Client, issuer: Issuer, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(risk_number=80))
    await client.app.state.backend.business.look()
    operator, both = issuer.bearer(roles=["operator"]), issuer.bearer(roles=["operator", "risk_manager"])
    for headers in ({}, operator):
        text = (await client.http.get("/metrics", headers=headers)).text
        assert "plimsoll_api_ready 1.0" in text
        assert "plimsoll_api_firm_" not in text
        assert "plimsoll_api_portfolios{" not in text
        assert "plimsoll_api_portfolios_at_risk" not in text
    assert "plimsoll_api_portfolios_at_risk 1.0" in (await client.http.get("/metrics", headers=both)).text
    # Whoever shows something is taken for who it says, also from beside us.
    assert (await client.http.get("/metrics", headers=issuer.bearer())).status_code == 403
    assert (await client.http.get("/metrics", headers=issuer.bearer(exp=1_000))).status_code == 401


async def test_roles_are_asked_for_on_every_route(
    client: Client, issuer: Issuer, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed.write(make.snapshot())
    operator, advisor = issuer.bearer(roles=["operator"]), issuer.bearer()
    assert (await client.http.get("/risk/p-1", headers=advisor)).status_code == 200
    refused = await client.http.get("/risk/p-1", headers=operator)
    assert refused.status_code == 403
    assert "GET /risk/{portfolio_id} is for advisor or risk_manager" in refused.json()["detail"]
    assert (await client.http.get("/health", headers=operator)).status_code == 200
    changed = "/simulate/portfolio-update?portfolio_id=p-1"
    assert (await client.http.post(changed, headers=advisor)).status_code == 403
    # Kafka is nowhere in this test, which only somebody who may change things finds out, and need not wait for.
    monkeypatch.setattr("api.publisher.ACKNOWLEDGED_WITHIN_SECONDS", 0.1)
    assert (await client.http.post(changed, headers=operator)).status_code == 503


async def test_the_document_says_how_to_sign_in(client: Client) -> None:
    document = (await client.http.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
            assert {"401", "403"} <= operation["responses"].keys()


async def test_keys_that_cannot_be_read_yet_are_nobodys_fault(client: Client, issuer: Issuer) -> None:
    async def away(_headers: Any) -> Caller:
        raise Unavailable("sign-in", "later")

    admission = client.app.state.backend.admission
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "request", away)
        response = await client.http.get("/health")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert msgspec.json.decode(response.content)["detail"].startswith("sign-in is unavailable")


def test_no_secret_is_in_what_is_printed(issuer: Issuer, clock: Clock) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = repr(Settings(auth="on", token_secret=SECRET)) + repr(Terms("a", "b", secret=SECRET))
    caller = Caller("ada", frozenset(), credential="api-key:abc")
    assert SECRET not in shown
    assert "abc" not in repr(caller)
