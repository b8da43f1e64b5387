"""`plimsoll token`: something to sign in with, for trying it out and for programs.

A token is signed with `PLIMSOLL_TOKEN_SECRET`, which an API takes on this machine only. An API key is made here and
kept by its hash alone. What signs in goes to standard output, everything said about it to standard error.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from api.identity import Caller, Role
from plimsoll.errors import BadSetting
from plimsoll.refusals import IDENTIFIER_RULE, is_identifier

if TYPE_CHECKING:
    from plimsoll.settings import Settings

MINUTES_MAX = 24 * 60


def command(told: Callable[[], Settings]) -> Callable[..., None]:
    """The command; `told` reads the settings when it runs."""

    def token(
        role: Annotated[list[Role], typer.Option(help="What its bearer may do; may be repeated.")],
        advisor: Annotated[
            str | None, typer.Option(metavar="ID", help="Of the role advisor: whose portfolios are shown.")
        ] = None,
        minutes: Annotated[int, typer.Option(min=1, max=MINUTES_MAX, help="How long a token lasts.")] = 15,
        subject: Annotated[
            str | None,
            typer.Option(metavar="NAME", help="Whose name the audit log has.", show_default="the advisor or the role"),
        ] = None,
        api_key: Annotated[bool, typer.Option("--api-key", help="Make an API key in place of a token.")] = False,
        name: Annotated[
            str | None, typer.Option(metavar="NAME", help="Of the API key, in its file and the log.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Issue a token to try sign-in with, or make an API key.

        A token needs PLIMSOLL_TOKEN_SECRET, the same here as where risk-api runs. An API key needs its line in the file
        that PLIMSOLL_API_KEYS names; it lasts until the line is taken out.
        """
        roles = list(dict.fromkeys(role))
        _check(roles, advisor)
        if api_key:
            _make_key(name, roles, advisor, as_json=as_json)
        else:
            _issue(told(), subject or advisor or roles[0], roles, advisor, minutes, as_json=as_json)

    return token


def _check(roles: list[Role], advisor: str | None) -> None:
    if (Role.ADVISOR in roles) != (advisor is not None):
        raise BadSetting(
            "--advisor", "goes with the role advisor, and the role with it: --role advisor --advisor advisor-1"
        )
    if advisor is not None and not is_identifier(advisor):
        raise BadSetting("--advisor", f"{advisor[:80]!r} is {IDENTIFIER_RULE}")


def _issue(
    told: Settings, subject: str, roles: list[Role], advisor: str | None, minutes: int, *, as_json: bool
) -> None:
    from api.admission import terms_of  # noqa: PLC0415
    from api.tokens import SUBJECT_SIZE_MAX, issue  # noqa: PLC0415

    if not told.token_secret:
        raise BadSetting(
            "PLIMSOLL_TOKEN_SECRET",
            "is not set, and signs the token: set it here and for risk-api, for instance to what `openssl rand -hex 32`"
            " prints",
        )
    if not len(subject) <= SUBJECT_SIZE_MAX or not subject.isprintable():
        raise BadSetting("--subject", f"at most {SUBJECT_SIZE_MAX} printable characters are wanted")
    now = time.time()
    caller = Caller(subject, frozenset(roles), advisor, now + 60 * minutes)
    text = issue(terms_of(told), caller, now)
    if as_json:
        stated = {"token": text, "subject": subject, "roles": sorted(roles), "advisor_id": advisor}
        typer.echo(json.dumps(stated | {"expires_at": int(now + 60 * minutes)}))
        return
    typer.echo(text)
    print(f"plimsoll: for {minutes} min, as Authorization: Bearer <token>", file=sys.stderr)


def _make_key(name: str | None, roles: list[Role], advisor: str | None, *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415

    from api.api_keys import Line, make  # noqa: PLC0415

    name = name or f"key-{secrets.token_hex(4)}"
    if not is_identifier(name):
        raise BadSetting("--name", f"{name[:80]!r} is {IDENTIFIER_RULE}")
    key, digest = make()
    line = msgspec.json.encode(Line(name, digest, roles, advisor)).decode()
    if as_json:
        typer.echo(json.dumps({"key": key, "line": line}))
        return
    typer.echo(key)
    typer.echo(line)
    print(
        "plimsoll: the first line is the key, shown this once, for X-API-Key; the second goes into the file that"
        " PLIMSOLL_API_KEYS names",
        file=sys.stderr,
    )
