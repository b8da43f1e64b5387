"""What workers and the API say over HTTP: `/ready`, with its reasons, and `/metrics`.

Where a worker listens stands in its heartbeat. What it wrote there is the address it is bound to, so a loopback address
is one of its own machine: from another it cannot be asked, and is not.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from plimsoll.commands.soundings.patience import side_by_side
from plimsoll.errors import BadSetting, PlimsollError, Unavailable
from plimsoll.messages import Heartbeat

ANSWER_SECONDS = 2.0
ANSWER_SIZE_MAX = 8 << 20
"""Bytes. An API with many workers says about a hundred kilobytes each."""
_PIECE = 1 << 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Readiness:
    """What `/ready` says: whether, and the reason of each condition that does not hold."""

    is_ready: bool
    wants: list[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of `/metrics`."""

    name: str
    labels: Mapping[str, str]
    value: float


def address_of(beat: Heartbeat, here: str) -> str | None:
    """The URL of a worker's health server, as it can be reached from the machine `here`; None where it cannot."""
    if beat.health is None:
        return None
    host, _, port = beat.health.rpartition(":")
    try:
        listens_on = ip_address(host.strip("[]"))
    except ValueError:
        return None
    if beat.host == here:
        at = ("::1" if listens_on.version == 6 else "127.0.0.1") if listens_on.is_unspecified else str(listens_on)
    elif listens_on.is_loopback or beat.host is None:
        return None
    else:
        at = beat.host if listens_on.is_unspecified else str(listens_on)
    return f"http://[{at}]:{port}" if ":" in at else f"http://{at}:{port}"


def each_worker(beats: Sequence[Heartbeat], here: str, ask: Callable[[str], T]) -> dict[int, T | PlimsollError]:
    """What each worker answers that can be reached from the machine `here`, by its index; or why it does not."""
    urls = {beat.worker_index: url for beat in beats if (url := address_of(beat, here)) is not None}
    # The deadline of the whole covers a name that is looked up in vain, which no other does.
    answers = side_by_side({url: partial(ask, url) for url in urls.values()}, 2 * ANSWER_SECONDS)
    return {index: answers[url] for index, url in urls.items()}


def readiness(url: str) -> Readiness:
    """What `/ready` below this URL answers. Raises `Unavailable`."""
    body = _get(url, "/ready", (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE))
    try:
        told = json.loads(body)
        is_ready = told["ready"] if "ready" in told else told["status"] == "ready"
        lacking = [check for check in told["checks"] if not check["ok"]]
        return Readiness(bool(is_ready), [f"{check['check']}: {check['reason']}" for check in lacking])
    except (ValueError, LookupError, TypeError):
        raise Unavailable(url, "/ready answers something that is none of ours: is this the right port?") from None


def metrics(url: str) -> list[Sample]:
    """Every sample of `/metrics` below this URL. Raises `Unavailable`."""
    body = _get(url, "/metrics", (HTTPStatus.OK,))
    try:
        return list(_samples(body.decode()))
    except ValueError:
        raise Unavailable(url, "/metrics is not in the format of Prometheus: is this the right port?") from None


def require_url(flag: str, text: str) -> str:
    """The beginning of an address such as http://127.0.0.1:6066. Raises `BadSetting`."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BadSetting(flag, "not of the form http://127.0.0.1:6066")
    return text.rstrip("/")


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Sample(sample.name, sample.labels, sample.value)


def _get(url: str, path: str, wanted: tuple[HTTPStatus, ...]) -> bytes:
    """Ask once, within a deadline for the whole. Raises `Unavailable`."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        connection.request("GET", parts.path + path)
        answer = connection.getresponse()
        body = b""
        while piece := answer.read1(_PIECE):
            body += piece
            if len(body) > ANSWER_SIZE_MAX or time.monotonic() > deadline:
                raise Unavailable(url, f"the answer of {path} is too long or too slow")
    except TimeoutError:
        raise Unavailable(url, f"no answer within {ANSWER_SECONDS:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(url, getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
    finally:
        connection.close()
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise Unavailable(url, f"{path} is answered with {answer.status}: it wants a sign-in")
    if answer.status not in wanted:
        raise Unavailable(url, f"{path} is answered with {answer.status}: is this the right port?")
    return body
