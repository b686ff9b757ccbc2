"""Small images that carry metadata as generators, cameras and editors write it."""

from __future__ import annotations

import io
import json

from PIL import Image
from PIL.PngImagePlugin import PngInfo

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" {attributes}>{content}
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PARAMETERS = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
GRAPH = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1}}})


def encode(file_format: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), (10, 200, 90)).save(stream, file_format, **options)
    return stream.getvalue()


def png_with(compressed: bool = False, **texts: str) -> bytes:
    information = PngInfo()
    for key, text in texts.items():
        information.add_text(key.replace("__", " ").replace("_dash_", "-"), text, zip=compressed)
    return encode("PNG", pnginfo=information)


def exif_with(user_comment: bytes = b"", **tags: str) -> bytes:
    exif = Image.Exif()
    numbers = {"Make": 271, "Model": 272, "Software": 305, "ImageDescription": 270, "Artist": 315}
    for key, value in tags.items():
        if key in numbers:
            exif[numbers[key]] = value
    details = exif.get_ifd(34665)
    if "LensModel" in tags:
        details[42036] = tags["LensModel"]
    if user_comment:
        details[37510] = user_comment
    return exif.tobytes()


def xmp_with(attributes: str = "", content: str = "") -> bytes:
    return XMP.format(attributes=attributes, content=content).encode()
