"""Files made to hurt whoever reads them: an error or a finding, in bounded time and memory."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.provenance import Report, format_table, inspect
from tests.provenance.metadata_files import PARAMETERS, encode, exif_with, png_with, xmp_with

SECONDS = 3.0  # a hundred times what each of these takes
PEAK_BYTES = 40 << 20  # a few copies of the 1 MB that is read of a block, not one of 100 MB


def inspect_bounded(source: bytes | Path, name: str = "") -> Report:
    """`inspect`, held to its bounds; the report's values, too."""
    tracemalloc.start()
    started = time.perf_counter()
    try:
        report = inspect(source, name)
        seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < PEAK_BYTES
    assert len(report.error) <= 500
    assert all(len(finding.raw) <= 500 and len(finding.statement) <= 600 for finding in report.findings)
    return report


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(*chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IEND", b"")


def jpeg_of(*segments: tuple[int, bytes]) -> bytes:
    image = encode()
    parts = [bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content for marker, content in segments]
    return image[:2] + b"".join(parts) + image[2:]


def sparse_file(path: Path, head: bytes, size: int, tail: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.seek(size)
        file.write(tail or b"\0")
    return path


def test_a_text_chunk_of_100_megabytes(tmp_path):
    size = 100_000_000
    start = png_of()[:33] + struct.pack(">I", size) + b"tEXtparameters\0" + PARAMETERS.encode()
    path = sparse_file(tmp_path / "large.png", start, 33 + 8 + size + 4, png_chunk(b"IEND", b""))
    report = inspect_bounded(path)
    assert [finding.says for finding in report.findings] == ["generated"]
    assert "100000000 bytes; 1048576 were read" in report.error


def test_jpeg_segments_of_100_megabytes(tmp_path):
    segment = b"\xff\xe1" + struct.pack(">H", 65535) + b"Exif\0\0" + bytes(65527)
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.write(b"\xff\xd8")
        for _ in range(1600):
            file.write(segment)
        file.write(encode()[2:])
    report = inspect_bounded(path)
    assert (report.format, report.width, report.height) == ("JPEG", 40, 30)
    assert report.error


def test_an_xmp_packet_of_100_megabytes_in_webp_and_tiff(tmp_path):
    webp = encode("WEBP", lossless=True)
    path = sparse_file(tmp_path / "large.webp", webp + b"XMP " + struct.pack("<I", 100_000_000) + b"<x>", 100_000_100)
    assert "XMP" in inspect_bounded(path).error
    tiff = struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 700, 1, 100_000_000, 30) + bytes(8)
    path = sparse_file(tmp_path / "large.tif", tiff, 100_000_100)
    assert "tag 700 is cut off" in inspect_bounded(path).error


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_decompression_bombs(kind):
    bomb = zlib.compress(bytes(200_000_000), 9)
    head = b"parameters\0\0" if kind == b"zTXt" else b"parameters\0\1\0\0\0"
    report = inspect_bounded(png_of(png_chunk(kind, head + bomb)))
    assert "decompressed to its first 1048576 bytes only" in report.error


def test_two_hundred_bombs_share_one_allowance():
    bomb = png_chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(b" " * 5_000_000, 9))
    assert inspect_bounded(png_of(*[bomb] * 300)).error


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
        + "".join(
            f'<!ENTITY {chr(98 + i + 1)} "&{chr(98 + i)};&{chr(98 + i)};&{chr(98 + i)};&{chr(98 + i)};">'
            for i in range(20)
        )
        + "]>",
        '<!DOCTYPE x [<!ENTITY v SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
    ids=["billion laughs", "external entity", "external document type"],
)
def test_xml_entities_are_refused(prolog):
    report = inspect_bounded(encode(xmp=prolog.encode() + xmp_with('photoshop:Credit="Made with Google AI"')))
    assert "declares a document type" in report.error
    assert report.findings == ()


def test_xml_of_great_depth_and_many_attributes():
    deep = b"<a>" * 20_000
    assert "broken XML" in inspect_bounded(encode(xmp=deep)).error
    many = xmp_with(" ".join(f'xmp:a{i}="1"' for i in range(4000)))
    assert inspect_bounded(encode(xmp=many)).findings == ()


def test_broken_xml_keeps_what_came_before_the_break():
    packet = xmp_with('photoshop:Credit="Made with Google AI"')[:-60]
    report = inspect_bounded(encode(xmp=packet))
    assert [finding.says for finding in report.findings] == ["generated"]
    assert "broken XML" in report.error


@pytest.mark.parametrize("target", [8, 26, 0xFFFFFFF0])
def test_directories_that_lead_in_circles_or_nowhere(target):
    exif = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 34665, 4, 1, target, 8)
    report = inspect_bounded(encode(exif=b"Exif\0\0" + exif))
    assert report.format == "JPEG"
    assert "EXIF" in report.error
    assert inspect_bounded(exif).error


def test_a_directory_that_claims_values_of_gigabytes():
    entry = struct.pack("<HHII", 37510, 7, 0xFFFFFFFF, 8)
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 60000) + entry * 2000
    assert "cut off" in inspect_bounded(tiff).error


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_truncation_gives_a_report(file_format):
    options = {"exif": exif_with(b"ASCII\0\0\0" + PARAMETERS.encode(), Make="Canon", Model="EOS R5")}
    if file_format != "PNG":
        options["xmp"] = xmp_with('photoshop:Credit="Made with Google AI"')
    image = encode(file_format, **options)
    for length in range(0, len(image), max(1, len(image) // 150)):
        report = inspect(image[:length])
        assert isinstance(report, Report)
        assert report.format or report.error


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_random_damage_gives_a_report(file_format):
    options = {"exif": exif_with(b"UNICODE\0" + PARAMETERS.encode("utf-16-le"), Make="Canon", Model="EOS R5")}
    image = np.frombuffer(encode(file_format, **options), np.uint8)
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = image.copy()
        places = generator.integers(0, len(image), 8)
        damaged[places] = generator.integers(0, 256, 8)
        assert isinstance(inspect(damaged.tobytes()), Report)


def test_a_million_empty_chunks_and_segments():
    assert "more than 20000 chunks" in inspect_bounded(png_of(png_chunk(b"tIME", b"") * 300_000)).error
    assert "more than 20000 segments" in inspect_bounded(jpeg_of(*[(0xE5, b"")] * 300_000)).error
    assert "more than 200 text chunks" in inspect_bounded(png_of(png_chunk(b"tEXt", b"a\0b") * 10_000)).error


@pytest.mark.parametrize(
    "pattern", ["Steps: 1, ", '"Label":"1"', '"uc":', '"class_type" ', "Job ID: ", "Version: ", '"metadata_scheme":  ']
)
def test_texts_that_nearly_match_cost_linear_time(pattern):
    assert inspect_bounded(png_of(png_chunk(b"iTXt", b"parameters\0\0\0\0\0" + pattern.encode() * 100_000)))


def test_markup_and_terminal_controls_in_names_and_values():
    evil = "\x1b[2J<script>alert(1)</script>\u202egpj\x07\r\n\udcff"
    report = inspect_bounded(png_with(Software="NovelAI " + evil.replace("\udcff", "")), name=evil)
    shown = format_table([report]) + str(report.to_dict())
    for character in "\x1b\x07\r\u202e\udcff":
        assert character not in shown
    # Markup is text here: a web page escapes it, a terminal shows it.
    assert "<script>" in report.file
    table = format_table([report])
    table.encode()
    assert "\n\n" not in table


def test_boxes_that_point_anywhere():
    image = encode("AVIF", exif=exif_with(Make="Canon", Model="EOS R5"))
    start = image.find(b"iloc")
    for fill in (b"\x00", b"\xff", b"\x44"):
        inspect_bounded(image[: start + 4] + fill * 40 + image[start + 44 :])
    endless = struct.pack(">I4sQ", 1, b"free", 2**63) + bytes(100)
    assert "broken or cut off" in inspect_bounded(image[:32] + endless).error


def test_a_content_credential_of_100_megabytes_is_not_checked(tmp_path):
    size = 100_000_000
    start = png_of()[:33] + struct.pack(">I", size) + b"caBX" + b"digitalsourcetype/trainedAlgorithmicMedia\0"
    (finding,) = inspect_bounded(
        sparse_file(tmp_path / "a.png", start, 33 + 8 + size + 4, png_chunk(b"IEND", b""))
    ).findings
    assert (finding.status, finding.says) == ("unchecked", "generated")
    assert "100000000 bytes" in finding.statement


def test_a_pixel_bomb_is_not_decoded():
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    report = inspect_bounded(stream.getvalue())
    assert (report.width, report.height) == (20_000, 20_000)
