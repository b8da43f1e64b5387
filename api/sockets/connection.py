"""One socket from its first message to its last: what may come when, and what each message leads to.

What is wrong with one operation is an `error` of that operation, and its neighbours on the socket go on. What is wrong
with the conversation closes the socket, with a code (`codes`) that tells the client whether to come back.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLError, OperationType
from starlette.types import Receive, Scope, Send

from api import execution
from api.backend import Backend
from api.documents import Prepared, RefusedDocument
from api.errors import NotAdmitted
from api.frames import Frame
from api.graphql_request import RefusedRequest
from api.identity import Caller
from api.rates import Rates, too_often
from api.schema.operation import Session
from api.shared_streams import Errors, SharedStreams, stops
from api.sockets.codes import Code, reason
from api.sockets.messages import (
    ACK,
    LEGACY,
    BadFrame,
    Init,
    Meaning,
    Ping,
    Pong,
    Protocol,
    Start,
    Stop,
    Terminate,
    refused,
)
from api.sockets.outbox import EXTENSION, Outbox, TaskWire
from api.sockets.registry import Sockets, TooMany
from api.telemetry import Outcome, ToldOperation
from plimsoll.errors import PlimsollError

_log = logging.getLogger(__name__)
ReadDocument = Callable[[Session, Mapping[str, Any]], Prepared]


class Running:
    """One operation of a socket. As a reader of a shared stream it passes everything to the socket's outbox."""

    __slots__ = ("_connection", "_told", "id", "prefix", "silenced", "task")

    def __init__(self, operation_id: str, connection: Connection) -> None:
        self.id = operation_id
        self.prefix = connection.protocol.prefix(operation_id)
        self.silenced = False
        """Nobody wants to hear of it any more."""
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._told: ToldOperation | None = None

    def is_told(self, told: ToldOperation) -> None:
        """Telemetry is told of it, from here to `over`."""
        self._told = told.__enter__()

    def over(self, outcome: Outcome) -> None:
        """It has ended, however it did; only the first time counts."""
        if self._told is not None:
            self._told.outcome = outcome
            self._told.__exit__(None, None, None)
            self._told = None

    def tell(self, frame: Frame) -> None:
        """An event."""
        if not self.silenced:
            self._connection.outbox.tell(self, frame)

    def end(self, errors: Errors | None) -> None:
        """Nothing follows."""
        if not self.silenced:
            self._connection.ended(self, errors)


class Connection:
    """The server's side of one socket. `run` it; `Sockets` looks after it, and may `close` it at any time."""

    __slots__ = (
        "_backend", "_closing", "_filled_at", "_frames", "_heard_at", "_init_came", "_opened_at", "_pinged_at",
        "_quiet_since", "_rates", "_read", "_read_document", "_read_since", "_receive", "_scope", "_send",
        "_sent_before", "_sockets", "_streams", "_task", "_tokens", "closed_by_us", "closed_with", "operations",
        "outbox", "protocol", "session",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        protocol: Protocol,
        backend: Backend,
        streams: SharedStreams,
        sockets: Sockets,
        rates: Rates,
        read_document: ReadDocument,
    ) -> None:
        self.protocol = protocol
        self.outbox = Outbox(sockets.sent, lambda: self.close(Code.TOO_SLOW, "too much waits to be read"))
        self.session: Session | None = None
        self.operations: dict[str, Running] = {}
        self.closed_with: int | None = None
        self.closed_by_us = False
        self._scope = scope
        self._frames: Any = scope.get("extensions", {}).get(EXTENSION)
        self._receive = receive
        self._send = send
        self._backend = backend
        self._streams = streams
        self._sockets = sockets
        self._rates = rates
        self._read_document = read_document
        self._task = asyncio.current_task()
        self._closing: asyncio.Task[None] | None = None
        self._init_came = False
        now = sockets.monotonic()
        self._opened_at = self._heard_at = self._quiet_since = self._read_since = self._filled_at = now
        self._sent_before = 0
        self._read = 0
        self._pinged_at: float | None = None
        self._tokens = float(sockets.limits.message_burst)

    @property
    def caller(self) -> Caller | None:
        """Who it is; None before it said so."""
        return None if self.session is None else self.session.caller

    async def run(self) -> None:
        """Hold the conversation until either side ends it."""
        await self._send({"type": "websocket.accept", "subprotocol": self.protocol.name})
        if self._frames is None:
            self.outbox.wire = TaskWire(self._send, self.outbox)
        else:
            self._frames.open(self.outbox.flush)
            self.outbox.wire = self._frames
        self._sockets.add(self)
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    self.closed_with = self.closed_with or message.get("code", Code.NORMAL)
                    return
                if self.closed_with is None:
                    await self._hear(message.get("text"))
        except asyncio.CancelledError:
            # Cut off by ourselves; else the server stops, and wants to know that it was heard.
            if self.closed_with is None:
                raise
        except Exception:
            # Ours, and one socket's: its client is told an id, and the log what it stands for.
            error_id = secrets.token_hex(8)
            _log.exception("internal error %s on a socket", error_id, extra={"error_id": error_id})
            self.close(Code.INTERNAL, f"internal error {error_id}")
        finally:
            self._leave()
            self._sockets.remove(self)

    def close(self, code: Code, why: str) -> None:
        """End the conversation. Waits for nobody."""
        if self.closed_with is not None:
            return
        self.closed_with, self.closed_by_us = code, True
        if code is Code.TOO_SLOW:
            self._backend.telemetry.slow_readers_closed += 1
        self._leave()
        if self._frames is not None:
            self._frames.end(code, reason(why), self._sockets.limits.linger_seconds)
        else:
            self._closing = asyncio.create_task(self._close_slowly(code, reason(why)))

    async def _close_slowly(self, code: Code, why: str) -> None:
        """Through ASGI, which waits for a client that does not read: after a while it is cut off without a code."""
        try:
            async with asyncio.timeout(self._sockets.limits.linger_seconds):
                await self._send({"type": "websocket.close", "code": code, "reason": why})
        except Exception:
            # Too slow; or it has left, and each server has an error of its own for that.
            if self._task is not None:
                self._task.cancel()

    def _leave(self) -> None:
        """Give up every operation, and whatever waits."""
        for running in tuple(self.operations.values()):
            self._give_up(running)
        self.outbox.close()

    def _give_up(self, running: Running) -> None:
        running.silenced = True
        running.over("cancelled")
        self.operations.pop(running.id, None)
        self._streams.leave(running)
        if running.task is not None:
            running.task.cancel()

    # --- what comes in ------------------------------------------------------------------------------------------------

    async def _hear(self, text: str | None) -> None:
        self._heard_at = self._sockets.monotonic()
        self._pinged_at = None
        if not self._may_speak():
            self.close(Code.TOO_MANY, f"more than {self._sockets.limits.messages_per_second} messages a second")
        elif text is None:
            self.close(Code.BAD_MESSAGE, "messages are text frames")
        else:
            try:
                meaning = self.protocol.read(text)
            except BadFrame as bad:
                self.close(Code.BAD_MESSAGE, str(bad))
            else:
                await self._follow(meaning)

    def _may_speak(self) -> bool:
        limits = self._sockets.limits
        flown = (self._heard_at - self._filled_at) * limits.messages_per_second
        self._tokens = min(float(limits.message_burst), self._tokens + flown) - 1.0
        self._filled_at = self._heard_at
        return self._tokens >= 0.0

    async def _follow(self, meaning: Meaning) -> None:
        match meaning:
            case Init(params):
                await self._initialise(params)
            case Start():
                self._start(meaning)
            case Stop(operation_id):
                if (running := self.operations.get(operation_id)) is not None:
                    self._give_up(running)
                    self.outbox.forget(running)
            case Ping(payload):
                self.outbox.say(self.protocol.pong(payload))
            case Pong():
                pass  # That it was heard is all it says.
            case Terminate():
                self.close(Code.NORMAL, "as you wish")

    async def _initialise(self, params: Mapping[str, Any] | None) -> None:
        if self._init_came:
            self.close(Code.INITIALISED_TWICE, "Too many initialisation requests")
            return
        self._init_came = True
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._scope["headers"]}
        # As over HTTP: whoever shows what we have not met pays for it before it is looked at.
        is_known = self._backend.admission.knows_socket(params, headers)
        if not is_known and (wait := self._rates.take_unknown(self._scope)):
            self._turn_away(Code.TOO_MANY, too_often(wait)[0])
            return
        try:
            caller = await self._backend.admission.socket(params, headers)
            self._sockets.admit(self, caller)
        except NotAdmitted as error:
            self._turn_away(Code.FORBIDDEN, f"Forbidden: {error}")
        except TooMany as error:
            self._turn_away(Code.TOO_MANY, str(error))
        except PlimsollError as error:
            self._turn_away(Code.TRY_LATER, str(error))
        else:
            if self.closed_with is None:
                self.session = Session(self._backend.seen_by(caller), caller, self.protocol.name)
                self.outbox.say(ACK)

    def _turn_away(self, code: Code, why: str) -> None:
        if self.protocol is LEGACY:
            self.outbox.say(refused(why))
        self.close(code, why)

    # --- operations ---------------------------------------------------------------------------------------------------

    def _start(self, start: Start) -> None:
        if self.session is None:
            self.close(Code.NOT_INITIALISED, "Unauthorized: send connection_init first, and wait for the answer")
            return
        if start.id in self.operations:
            self.close(Code.DUPLICATE_ID, f"Subscriber for {start.id} already exists")
            return
        try:
            self._sockets.require_room(self)
            prepared = self._read_document(self.session, start.request)
            running = Running(start.id, self)
            if prepared.kind(start.operation_name) is OperationType.SUBSCRIPTION:
                execution.admit(self.session, prepared, start.variables, start.operation_name)
                self.operations[start.id] = running
                running.is_told(execution.told_of(self.session, prepared, start.operation_name))
                self._streams.join(self.session, prepared, start.variables, start.operation_name, running)
            else:
                self.operations[start.id] = running
                running.task = asyncio.create_task(self._answer(self.session, running, prepared, start))
        except RefusedDocument as refused_document:
            self._refuse(start.id, [execution.told(each) for each in refused_document.errors])
        except (RefusedRequest, TooMany) as error:
            self._refuse(start.id, [_coded(str(error), error.code)])
        except Exception as error:
            # One operation's, and no matter of its neighbours: `told` masks and logs it.
            self._refuse(start.id, [execution.told(GraphQLError(str(error), original_error=error))])

    def _refuse(self, operation_id: str, errors: Errors) -> None:
        if (running := self.operations.get(operation_id)) is not None:
            self._give_up(running)
        self.outbox.say(self.protocol.error(operation_id, errors))

    async def _answer(self, session: Session, running: Running, prepared: Prepared, start: Start) -> None:
        """A query or a mutation: one answer, and it is complete."""
        try:
            body = await execution.answer(session, prepared, start.variables, start.operation_name)
        except RefusedDocument as refused_document:
            running.end([execution.told(each) for each in refused_document.errors])
        except Exception as error:
            # One operation's, as above.
            running.end([execution.told(GraphQLError(str(error), original_error=error))])
        else:
            if not running.silenced:
                self.outbox.say(running.prefix + body + b"}")
                running.end(None)

    def ended(self, running: Running, errors: Errors | None) -> None:
        """An operation came to its end: say so, after what is still unread of it."""
        if errors and stops(errors):
            return  # The socket is about to be closed with a code that says more.
        self.operations.pop(running.id, None)
        self._streams.leave(running)
        running.over("error" if errors else "ok")
        if errors:
            self.outbox.say(self.protocol.error(running.id, errors))
        else:
            self.outbox.say(self.protocol.complete(running.id))

    # --- looked after -------------------------------------------------------------------------------------------------

    def look(self, now: float, wall: float) -> None:
        """Close it if it has to be, and ask whether the client is there if all has been quiet. Often, and cheap."""
        limits = self._sockets.limits
        if self.closed_with is not None:
            return
        caller = self.caller
        if caller is None:
            if now - self._opened_at > limits.init_seconds:
                self.close(Code.INITIALISATION_TIMEOUT, "Connection initialisation timeout")
        elif caller.expires_at is not None and wall >= caller.expires_at:
            self.close(Code.FORBIDDEN, "Forbidden: what you signed in with has expired; sign in again")
        elif self._stalled_for(now) > limits.send_seconds:
            self.close(Code.TOO_SLOW, f"nothing was read for {limits.send_seconds:g} s; come back when you can read")
        elif self._pinged_at is not None and now - self._pinged_at > limits.pong_seconds:
            self.close(Code.TOO_SLOW, f"no pong within {limits.pong_seconds:g} s")
        elif self._quiet_for(now) > limits.quiet_seconds:
            self.outbox.say(self.protocol.heartbeat)
            self._sent_before = self.outbox.count
            self._quiet_since = now
            if self.protocol.is_answered and self._pinged_at is None:
                self._pinged_at = now

    def _stalled_for(self, now: float) -> float:
        """Seconds for which something waits to be read and nothing has been."""
        wire = self.outbox.wire
        unread = wire.unread()
        read = wire.read_so_far(unread)
        if read > self._read or not (unread or len(self.outbox)):
            self._read, self._read_since = max(read, self._read), now
        return now - self._read_since

    def _quiet_for(self, now: float) -> float:
        """Seconds for which nothing was said on either side."""
        if self.outbox.count != self._sent_before:
            self._sent_before, self._quiet_since = self.outbox.count, now
        return now - max(self._quiet_since, self._heard_at)


def _coded(message: str, code: str) -> Mapping[str, Any]:
    return {"message": message, "extensions": {"code": code}}
