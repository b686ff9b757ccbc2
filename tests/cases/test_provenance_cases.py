"""Metadata that once ended a run, or was passed over in silence."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from deepfake_tf import provenance
from deepfake_tf.provenance import containers

pytestmark = pytest.mark.cases

# Names that XML allows for an encoding; Python has no codec, one of several bytes, or one that is not of text.
BAD_ENCODINGS = ("foo", "utf-7", "utf-32", "utf_32_be", "idna", "punycode", "base64", "rot13", "zlib", "undefined")
BAD_ENCODINGS += ("gb18030", "shift_jis", "unicode_escape", "oem", "x" * 500)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels


def packet_in(encoding: str) -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode()


def png_with_xmp(encoding: str) -> bytes:
    return png_of(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet_in(encoding)))


def image_with_xmp(file_format: str, packet: bytes) -> bytes:
    stream = io.BytesIO()
    options = {"tiffinfo": {700: packet}} if file_format == "TIFF" else {"xmp": packet}
    Image.new("RGB", (8, 8)).save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("encoding", BAD_ENCODINGS)
def test_an_encoding_that_cannot_be_read_is_the_files_error(encoding):
    report = provenance.inspect(png_with_xmp(encoding))
    assert report.error.startswith("XMP: cannot be read")
    assert (report.format, report.width) == ("PNG", 1)
    assert report.error in provenance.summarise(report, "likely real")
    assert provenance.inspect(png_with_xmp("utf-8")).error == ""


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "TIFF", "AVIF"])
def test_in_every_container(file_format):
    report = provenance.inspect(image_with_xmp(file_format, packet_in("foo")))
    assert "XMP: cannot be read (LookupError: unknown encoding: foo)" in report.error
    assert report.format == file_format


def test_what_stands_before_the_bad_block_still_counts():
    text = chunk(b"tEXt", b"parameters\0a cat\nSteps: 20, Sampler: Euler a, Seed: 1")
    bad = png_with_xmp("idna")[33:]
    report = provenance.inspect(png_of(text)[: 33 + len(text)] + bad)
    assert [finding.says for finding in report.findings] == ["generated"]
    assert "XMP: cannot be read" in report.error


@pytest.mark.parametrize("fault", [RuntimeError("lost"), MemoryError(), RecursionError("deep"), KeyError("key")])
@pytest.mark.parametrize("parser", ["exif", "xmp", "iptc", "_read_png", "_inflate"])
def test_no_fault_of_a_parser_leaves_inspect(monkeypatch, parser, fault):
    def fail(*_: object):
        raise fault

    owner = containers if parser.startswith("_") else getattr(containers, parser)
    monkeypatch.setattr(owner, parser if parser.startswith("_") else "read_fields", fail)
    profile = b"\nname\n4\n00000000"
    blocks = [
        chunk(b"eXIf", b"MM\0*"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<a/>"),
        chunk(b"tEXt", b"Raw profile type iptc\0" + profile),
        chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"x")),
    ]
    report = provenance.inspect(png_of(*blocks))
    assert type(fault).__name__ in report.error


def test_an_empty_credential_is_said_to_be_one():
    webp = io.BytesIO()
    Image.new("RGB", (8, 8)).save(webp, "WEBP", lossless=True)
    content = webp.getvalue()[8:] + b"C2PA" + bytes(4)
    tiff = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 52545, 7, 0, 0, 0)
    for encoded in (png_of(chunk(b"caBX", b"")), b"RIFF" + struct.pack("<I", len(content)) + content, tiff):
        for check in (True, False):
            report = provenance.inspect(encoded, check_credentials=check)
            (finding,) = report.findings
            assert (finding.source, finding.status, finding.says) == ("C2PA", "invalid", "unknown")
            assert "empty Content Credential" in report.summary


def test_a_folder_of_them_is_a_row_each(tmp_path):
    for index, encoding in enumerate(("utf-8", *BAD_ENCODINGS[:5])):
        (tmp_path / f"{index}.png").write_bytes(png_with_xmp(encoding))
    command = [sys.executable, "-m", "deepfake_tf.cli"]
    inspected = subprocess.run([*command, "inspect", tmp_path, "--format", "json"], capture_output=True, text=True)
    assert inspected.returncode == 3, inspected.stderr
    assert [bool(row["error"]) for row in json.loads(inspected.stdout)] == [False] + [True] * 5
    options = ["--provenance", "--format", "jsonl", "--engine", "litert"]
    predicted = subprocess.run([*command, "predict", tmp_path, *options], capture_output=True, text=True)
    assert predicted.returncode == 0, predicted.stderr
    rows = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert ["XMP: cannot be read" in row["provenance"] for row in rows] == [False] + [True] * 5


def test_a_bad_trust_list_is_said_before_the_first_file(tmp_path):
    (tmp_path / "plain.png").write_bytes(png_of())
    (tmp_path / "list.pem").write_text("no certificate")
    command = [sys.executable, "-m", "deepfake_tf.cli"]
    environment = {**os.environ, "DEEPFAKE_TF_TRUST_LIST": str(tmp_path / "list.pem")}
    for arguments in (["inspect", tmp_path], ["predict", tmp_path, "--provenance"]):
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
        assert result.returncode == 2
        assert "trust list must be a PEM file" in result.stderr
        assert result.stdout == ""
