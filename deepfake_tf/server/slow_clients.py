"""How `serve` speaks HTTP: by uvicorn, with limits on clients that keep it waiting.

uvicorn limits how many connections there are and how long one may idle between requests, but not how long a request's
headers may take, and at the limit it refuses whoever comes, not whoever dawdles: a thousand clients that send nothing
would shut everybody else out. An application sees a request only when its headers are complete, so a middleware cannot
help; uvicorn's setting `http` takes a protocol class, and that is the place. Bodies have theirs in `request_body.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_TIMEOUT_SECONDS = 10.0  # from the connection, or the last answer, to the end of the next request's headers
READING_TIMEOUT_SECONDS = 60.0  # for a client to take an answer, once it has stopped reading
MAX_CONNECTIONS = 1024
_OWN_FILES = 128  # descriptors that TensorFlow, the model and the sockets need


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that waits for a client for a while, and not while others find no room."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._reading_timer: asyncio.TimerHandle | None = None
        self._expect_headers()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_timer.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._headers_timer.cancel()
        self._expect_headers()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Of a message that is broken; uvicorn fails where it is being answered already, or is a HEAD."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refuse(400, b"Bad Request")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading_timer = self.loop.call_later(READING_TIMEOUT_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _expect_headers(self) -> None:
        self._waiting_since = self.loop.time()
        self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT_SECONDS, self._end_waiting, self.cycle)

    def _end_waiting(self, last_cycle: Any) -> None:
        if self.cycle is not last_cycle:  # the headers came
            return
        if not self.transport.is_closing():
            self._refuse(408, b"Request Timeout")
        # It is closed once the client has taken what was written, which it may never do.
        self._headers_timer = self.loop.call_later(READING_TIMEOUT_SECONDS, self.transport.abort)

    def _refuse(self, status: int, reason: bytes) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("connection", "close"), ("content-length", "0")]
            answer = self.conn.send(h11.Response(status_code=status, reason=reason, headers=headers))
            self.transport.write(answer + self.conn.send(h11.EndOfMessage()))
        self.transport.close()

    def _make_room(self) -> None:
        """At the limit, cut off the client that keeps the server waiting longest, one without a request first."""
        all_of_ours = (other for other in self.connections if isinstance(other, PatientProtocol))
        others = [other for other in all_of_ours if other is not self and not other.transport.is_closing()]
        if self.limit_concurrency is None or len(others) + 1 < self.limit_concurrency:
            return
        waiting = [other for other in others if other.is_waiting_for_headers or other.cycle.more_body]
        if waiting:
            first = min(waiting, key=lambda other: (not other.is_waiting_for_headers, other._waiting_since))
            first.transport.abort()

    @property
    def is_waiting_for_headers(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def http_settings() -> dict[str, Any]:
    """The arguments of `uvicorn.Config` that set these limits."""
    return {"http": PatientProtocol, "limit_concurrency": _max_connections()}


def _max_connections() -> int:
    """No more than there are file descriptors for, beyond which nobody is let in at all."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, max(16, files - _OWN_FILES))
