"""What the readers of containers fill in, within limits on how much of a file they read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, BinaryIO

from deepfake_tf.provenance.fields import Field

BLOCK_BYTES = 1 << 20  # read of any one metadata block, compressed or not: a ComfyUI workflow has 0.1 to 0.5 MB
TOTAL_BYTES = 16 << 20  # read of all of a file's metadata blocks together
CREDENTIAL_BYTES = 64 << 10  # kept of a Content Credential's bytes, to look for its source type unverified


@dataclasses.dataclass
class Metadata:
    """What a file's header and metadata hold.

    Attributes:
        format: "JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC", "GIF", "BMP", or empty.
        width: in pixels; 0 where unknown.
        height: in pixels; 0 where unknown.
        fields: the fields that bear on the origin, in file order.
        has_credential: whether there is a place for a Content Credential (a C2PA manifest store), if an empty one.
        credential_size: bytes of the embedded Content Credential.
        credential_bytes: the first `CREDENTIAL_BYTES` of it.
        problems: what could not be read, a phrase each.
        bytes_read: of metadata, decompressed, so far.
    """

    format: str = ""
    width: int = 0
    height: int = 0
    fields: list[Field] = dataclasses.field(default_factory=list)
    has_credential: bool = False
    credential_size: int = 0
    credential_bytes: bytes = b""
    problems: list[str] = dataclasses.field(default_factory=list)
    bytes_read: int = 0

    def allow(self, length: int) -> int:
        """How many of `length` bytes of metadata may still be read or decompressed."""
        return max(0, min(length, BLOCK_BYTES, TOTAL_BYTES - self.bytes_read))

    def read_block(self, stream: BinaryIO, length: int, what: str) -> bytes:
        """The next `length` bytes, or what the limits allow of them; the stream ends up somewhere within."""
        allowed = self.allow(length)
        block = stream.read(allowed)
        self.bytes_read += len(block)
        if len(block) < allowed:
            self.problem(f"{what} is cut off at {len(block)} of {length} bytes")
        elif allowed < length:
            self.problem(f"{what} has {length} bytes; {allowed} were read")
        return block

    def add(self, read_fields: Callable[[Any], tuple[list[Field], list[str]]], block: Any) -> None:
        """Take what a block's reader makes of it; where the reader fails, the other blocks still count."""
        try:
            fields, problems = read_fields(block)
        except OSError:  # of the disk, not of the block's content
            raise
        except Exception as error:
            fields, problems = [], [f"a metadata block cannot be read ({type(error).__name__}: {error})"]
        self.fields.extend(fields)
        for problem in problems:
            self.problem(problem)

    def read_credential(self, stream: BinaryIO, length: int) -> None:
        """Take (a further part of) a Content Credential: its length, and of its bytes those that are kept."""
        self.has_credential = True
        self.credential_size += length
        self.credential_bytes += stream.read(max(0, min(length, CREDENTIAL_BYTES - len(self.credential_bytes))))

    def problem(self, phrase: str) -> None:
        """Note what could not be read; the same thing is noted once, and ten things are enough."""
        if phrase not in self.problems and len(self.problems) < 10:
            self.problems.append(phrase)
