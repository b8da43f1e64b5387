"""`python -m benchmarks.asker JOBS`: ask over kept connections, check every answer, and say how long they took.

Written on bare asyncio protocols, because it shares a core with Redis and must leave room: some 20 microseconds a
request. Each connection has one request on its way. Without a rate the next one follows the answer; with a rate it
follows at its time, and what it waited for a free connection counts.

Jobs are a JSON list of `Job`, carried out side by side; what is printed is a list of `Told`, in the same order.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from benchmarks.measuring import Stuck, cpu_seconds

WARM_UP_SECONDS = 1.0
"""Or as long as is measured, where that is less."""
PATIENCE_SECONDS = 20.0
"""How long beyond its time a job waits for its first answer: a slow server is slow, and not without a figure."""


class Question(msgspec.Struct):
    """One request, and a part of the body that only the right answer has."""

    path: str
    body: str | None
    expected: str


class Job(msgspec.Struct):
    """What to ask of whom. `rate` is requests a second of all connections together; 0: as many as can be."""

    port: int
    pid: int
    connections: int
    seconds: float
    rate: float
    questions: list[Question]


class Told(msgspec.Struct):
    """Of the time after the warm-up. Wrong answers are counted, and the first one is shown."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """The server's, for each request, user and system, whoever else it answered meanwhile included."""
    wrong: int
    first_wrong: str


class _Asking:
    """The questions in turn, and what became of them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.requests = [_request(each) for each in job.questions]
        self.expected = [each.expected.encode() for each in job.questions]
        self.next = 0
        self.took: list[float] = []
        self.some = asyncio.Event()
        self.wrong = 0
        self.first_wrong = ""
        self.free: list[_Connection] = []
        self.due: deque[float] = deque()

    def answered(self, index: int, began: float, answer: bytes) -> None:
        """Check an answer and note its time."""
        self.took.append(time.perf_counter() - began)
        self.some.set()
        if not answer.startswith(b"HTTP/1.1 200") or self.expected[index] not in answer:
            self.wrong += 1
            self.first_wrong = self.first_wrong or answer[:2_000].decode(errors="replace")

    async def pace(self) -> None:
        """Make requests due at their times, while the job lasts."""
        began, count = time.perf_counter(), 0
        while True:
            now = time.perf_counter()
            while began + count / self.job.rate <= now:
                self.due.append(began + count / self.job.rate)
                count += 1
            while self.due and self.free:
                self.free.pop().ask(self.due.popleft())
            await asyncio.sleep(0.0005)


class _Connection(asyncio.Protocol):
    """One request on its way at a time."""

    def __init__(self, asking: _Asking) -> None:
        self._asking = asking
        self._parts: list[bytes] = []
        self._missing = -1
        self._began = 0.0
        self._index = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream's
        self._again()

    def ask(self, began: float) -> None:
        """Send the next request; `began` is when it was due."""
        asking = self._asking
        self._index = asking.next
        asking.next = (asking.next + 1) % len(asking.requests)
        self._began = began
        self._transport.write(asking.requests[self._index])

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._missing < 0:
            head = b"".join(self._parts)
            end = head.find(b"\r\n\r\n")
            if end < 0:
                return
            at = head.lower().index(b"content-length:") + 15
            self._missing = int(head[at : head.index(b"\r", at)]) - (len(head) - end - 4)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            answer, self._parts, self._missing = b"".join(self._parts), [], -1
            self._asking.answered(self._index, self._began, answer)
            self._again()

    def _again(self) -> None:
        asking = self._asking
        if not asking.job.rate:
            self.ask(time.perf_counter())
        elif asking.due:
            self.ask(asking.due.popleft())
        else:
            asking.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._asking.wrong += 1
            self._asking.first_wrong = self._asking.first_wrong or repr(exc)


def _request(question: Question) -> bytes:
    host = "Host: 127.0.0.1\r\nAccept: application/json\r\n"
    if question.body is None:
        return f"GET {question.path} HTTP/1.1\r\n{host}\r\n".encode()
    body = question.body.encode()
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"POST {question.path} HTTP/1.1\r\n{host}{kind}\r\n".encode() + body


async def ask(job: Job) -> Told:
    """Carry out a job. Raises `Stuck` where no question was answered in all its time."""
    asking = _Asking(job)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(asking), "127.0.0.1", job.port) for _ in range(job.connections)
    ]
    pacing = asyncio.create_task(asking.pace()) if job.rate else None
    await asyncio.sleep(min(WARM_UP_SECONDS, job.seconds))
    asking.took.clear()
    asking.some.clear()
    began, cpu = time.perf_counter(), cpu_seconds([job.pid])
    await asyncio.sleep(job.seconds)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asking.some.wait(), PATIENCE_SECONDS)
    seconds, spent = time.perf_counter() - began, cpu_seconds([job.pid]) - cpu
    if not asking.took:
        raise Stuck(f"no answer within {seconds:.1f} s. {asking.first_wrong}".strip())
    took = np.array(asking.took) * 1e3
    if pacing is not None:
        pacing.cancel()
    for transport, _ in made:
        transport.abort()
    p50, p99 = np.percentile(took, [50, 99]).tolist()
    return Told(len(took), seconds, p50, p99, spent / len(took) * 1e6, asking.wrong, asking.first_wrong)


def main(path: str) -> None:
    """Read the jobs, print what they told."""
    gc.disable()  # It lives for seconds, and its own pauses are not the server's.
    jobs = msgspec.json.decode(Path(path).read_bytes(), type=list[Job])

    async def ask_all() -> list[Told]:
        return list(await asyncio.gather(*(ask(job) for job in jobs)))

    try:
        told = uvloop.run(ask_all())
    except Stuck as stuck:
        sys.exit(str(stuck))
    print(msgspec.json.encode(told).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
