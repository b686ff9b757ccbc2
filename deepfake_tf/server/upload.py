"""The one file in an upload: a multipart form, or the body itself.

Parsed in memory: Starlette's own form parser writes what is over 1 MiB to a temporary file, and no image is
to reach the disk.
"""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from deepfake_tf.server.request_body import HttpError

FIELD = "file"
_MAX_PARTS = 16


def read_upload(body: bytes, content_type: str) -> bytes:
    """The uploaded file.

    Args:
        body: the request's.
        content_type: the request's header. `multipart/form-data`: the one part that is a file, by its name `file`
            or by a file name; anything else: the body is the file.

    Raises:
        HttpError: 400; no such part, several, a broken form, or nothing in it.
    """
    try:
        media_type, options = parse_options_header(content_type)
        uploaded = _read_form(body, options.get(b"boundary", b"")) if media_type == b"multipart/form-data" else body
    except (FormParserError, ValueError, LookupError) as error:  # the last two of odd encodings in headers
        raise HttpError(400, f"the multipart form is broken: {error}") from error
    if not uploaded:
        raise HttpError(
            400, "no file, or an empty one: send the image as the multipart field `file`, or as the request's body"
        )
    return uploaded


def _read_form(body: bytes, boundary: bytes) -> bytes:
    parts: list[tuple[dict[bytes, bytes], bytearray]] = []  # the options of Content-Disposition, and the data
    header = {"name": b"", "value": b""}
    ended = []

    def begin() -> None:
        if len(parts) == _MAX_PARTS:
            raise HttpError(400, f"the form has more than {_MAX_PARTS} parts: one file is accepted")
        parts.append(({}, bytearray()))

    def add_to(key: str):
        def callback(data: bytes, start: int, end: int) -> None:
            header[key] += data[start:end]

        return callback

    def end_header() -> None:
        if header["name"].lower() == b"content-disposition":
            parts[-1][0].update(parse_options_header(header["value"])[1])
        header.update(name=b"", value=b"")

    callbacks = {
        "on_part_begin": begin,
        "on_part_data": lambda data, start, end: parts[-1][1].extend(data[start:end]),
        "on_header_field": add_to("name"),
        "on_header_value": add_to("value"),
        "on_header_end": end_header,
        "on_end": lambda: ended.append(True),
    }
    MultipartParser(boundary, callbacks).write(body)  # type: ignore[arg-type]
    if not ended:
        raise HttpError(400, "the multipart form is cut off")
    is_file = lambda options: options.get(b"name") == FIELD.encode() or b"filename" in options
    # A browser sends a field for which no file was chosen as an empty one without a file name.
    files = [(options, data) for options, data in parts if is_file(options) and (data or options.get(b"filename"))]
    if len(files) > 1:
        names = ", ".join(options.get(b"name", b"").decode("utf-8", "replace")[:100] for options, _ in files)
        raise HttpError(400, f"one file is accepted a request. Received: {len(files)} (fields {names})")
    return bytes(files[0][1]) if files else b""
