"""What all requests hold together is bounded, and given back."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from starlette.requests import Request

from deepfake_tf.server import request_body
from deepfake_tf.server.request_body import BodyReader, HttpError


def _request(*chunks: bytes, **headers: str) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": encoded}, receive)


def test_bytes_are_held_until_the_block_is_left():
    async def main():
        bodies = BodyReader(max_body_bytes=10, max_bytes_in_flight=15)
        async with bodies.read(_request(b"12345", b"67890")) as body:
            assert body == b"1234567890"
            with pytest.raises(HttpError, match="busy") as refused:
                async with bodies.read(_request(b"123456")):
                    pass
            assert refused.value.status == 503
            async with bodies.read(_request(b"12345")):
                pass
        async with bodies.read(_request(b"1234567890")) as body:
            assert len(body) == 10

    asyncio.run(main())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (_request(bytes(30), bytes(30)), 413),
        (_request(content_length="51"), 413),
        (_request(gzip.compress(bytes(60)), content_encoding="gzip"), 413),
        (_request(b"no gzip", content_encoding="gzip"), 400),
        (_request(gzip.compress(b"a")[:-4], content_encoding="gzip"), 400),
        (_request(gzip.compress(b"a")[:10] + b"\xff" * 9, content_encoding="gzip"), 400),
        (_request(b"a", content_encoding="br"), 415),
    ],
    ids=["chunks", "declared", "unzipped", "not gzip", "cut gzip", "damaged gzip", "brotli"],
)
def test_refusals(request_, status):
    async def main():
        bodies = BodyReader(max_body_bytes=50, max_bytes_in_flight=100)
        with pytest.raises(HttpError) as refused:
            async with bodies.read(request_):
                pass
        assert refused.value.status == status

    asyncio.run(main())


def test_unzipped_bytes_are_held_too():
    async def main():
        bodies = BodyReader(max_body_bytes=1000, max_bytes_in_flight=1500)
        zipped = lambda: _request(gzip.compress(bytes(900)), content_encoding="gzip")
        async with bodies.read(zipped()) as body:
            assert body == bytes(900)
            with pytest.raises(HttpError, match="busy"):
                async with bodies.read(zipped()):
                    pass
        async with bodies.read(_request(bytes(1000))):
            pass

    asyncio.run(main())


@pytest.mark.parametrize("limit", ["READ_TIMEOUT_SECONDS", "STALL_TIMEOUT_SECONDS"])
def test_a_body_that_does_not_come(monkeypatch, limit):
    """Neither one that stops, nor one that never ends; what it held is given back."""
    monkeypatch.setattr(request_body, limit, 0.3)

    async def main():
        messages = 0

        async def receive():
            nonlocal messages
            messages += 1
            await asyncio.sleep(0.05 if limit == "READ_TIMEOUT_SECONDS" or messages < 3 else 60)
            return {"type": "http.request", "body": b"1", "more_body": True}

        bodies = BodyReader(max_body_bytes=1000, max_bytes_in_flight=1000)
        with pytest.raises(HttpError, match="the body did not arrive within") as refused:
            async with bodies.read(Request({"type": "http", "method": "POST", "headers": []}, receive)):
                pass
        assert refused.value.status == 408
        assert messages > 2
        async with bodies.read(_request(bytes(1000))) as body:
            assert len(body) == 1000

    asyncio.run(main())
