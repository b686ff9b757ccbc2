"""Request bodies, read under limits."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import zlib
from collections.abc import AsyncIterator, Callable

from starlette.requests import ClientDisconnect, Request

from deepfake_tf.contract import MAX_FILE_BYTES

_MIB = 2**20
# An image that the score contract accepts must fit, and base64 makes three bytes four.
MAX_BODY_BYTES = MAX_FILE_BYTES * 4 // 3 + _MIB
MAX_BYTES_IN_FLIGHT = 4 * MAX_BODY_BYTES
READ_TIMEOUT_SECONDS = 60.0  # for the whole body
STALL_TIMEOUT_SECONDS = 15.0  # without a byte of it: what has arrived is held, and others may need the room


Hold = Callable[[bytearray, bytes], None]  # adds a piece to a body, within the limits


class HttpError(Exception):
    """An answer other than 200; `status` is the HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class BodyReader:
    """Reads bodies; knows how many bytes all requests of the process hold together."""

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES, max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT):
        self.max_body_bytes = max_body_bytes
        self._max_bytes_in_flight = max_bytes_in_flight
        self._bytes_in_flight = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, unzipped where it says `Content-Encoding: gzip`; held until the block is left.

        Raises:
            HttpError: 413 over the limit, 503 while other requests hold too much, 408 where it comes too
                slowly or not whole, 400 and 415 where its encoding is broken or unknown.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.max_body_bytes:
            raise self._too_large()
        held = 0

        def hold(body: bytearray, piece: bytes) -> None:
            nonlocal held
            if len(body) + len(piece) > self.max_body_bytes:
                raise self._too_large()
            if self._bytes_in_flight + len(piece) > self._max_bytes_in_flight:
                raise HttpError(503, "the server is busy with large requests: try again later")
            self._bytes_in_flight += len(piece)
            held += len(piece)
            body += piece

        try:
            body = await self._received(request, hold)
            encoding = request.headers.get("content-encoding", "identity").lower()
            yield await self._decoded(body, encoding, hold)
        finally:
            self._bytes_in_flight -= held

    async def _received(self, request: Request, hold: Hold) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(STALL_TIMEOUT_SECONDS) as timer:
                now = asyncio.get_running_loop().time
                deadline = now() + READ_TIMEOUT_SECONDS
                async for chunk in request.stream():
                    timer.reschedule(min(deadline, now() + STALL_TIMEOUT_SECONDS))
                    hold(body, chunk)
        except TimeoutError as error:
            limits = f"{READ_TIMEOUT_SECONDS:g} s, or stopped for {STALL_TIMEOUT_SECONDS:g} s"
            raise HttpError(408, f"the body did not arrive within {limits}") from error
        except ClientDisconnect as error:
            raise HttpError(408, "the connection was closed before the body was whole") from error
        return bytes(body)

    async def _decoded(self, body: bytes, encoding: str, hold: Hold) -> bytes:
        if encoding in ("identity", ""):
            return body
        if encoding != "gzip":
            raise HttpError(415, f"Content-Encoding must be gzip or absent. Received: {encoding}")
        decoded = bytearray()
        stream = gzip.GzipFile(fileobj=io.BytesIO(body))
        try:
            # In pieces, each counted: a small body may hold a thousand times its size.
            while piece := await asyncio.to_thread(stream.read, _MIB):
                hold(decoded, piece)
        except (OSError, EOFError, zlib.error) as error:
            raise HttpError(400, f"the body is not whole gzip data: {error}") from error
        return bytes(decoded)

    def _too_large(self) -> HttpError:
        return HttpError(413, f"the body is too large: at most {self.max_body_bytes / _MIB:.0f} MiB are accepted")
