"""The fields of an XMP packet that bear on an image's origin (ISO 16684-1; IPTC Photo Metadata 2025.1).

The packet is read by expat as a stream of events, without a tree. A document type is refused before any of
its entities is seen, which is the whole of the defence that the standard library's parsers need against
entity bombs and external entities.
"""

from __future__ import annotations

from xml.parsers import expat

from deepfake_tf.provenance.fields import Field

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_KEYS = {
    ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "DigitalSourceType"),
    ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "AISystemUsed"),
    ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "AISystemVersionUsed"),
    ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "AIPromptInformation"),
    ("http://ns.adobe.com/photoshop/1.0/", "Credit"),
    ("http://ns.adobe.com/photoshop/1.0/", "Source"),
    ("http://ns.adobe.com/xap/1.0/", "CreatorTool"),
    ("http://ns.adobe.com/xap/1.0/sType/ResourceEvent#", "softwareAgent"),
    ("http://ns.adobe.com/exif/1.0/", "UserComment"),
    ("http://ns.adobe.com/tiff/1.0/", "Make"),
    ("http://ns.adobe.com/tiff/1.0/", "Model"),
    ("http://ns.adobe.com/tiff/1.0/", "Software"),
    ("http://purl.org/dc/elements/1.1/", "description"),
    ("http://purl.org/dc/elements/1.1/", "creator"),
    ("http://purl.org/dc/terms/", "provenance"),  # where the Content Credential lies when it is not in the file
    ("http://www.tc260.org.cn/ns/AIGC/1.0/", "AIGC"),  # China's mandatory label, GB 45438-2025
}
_FIELDS = 200


class _DocumentTypeError(ValueError):
    pass


def read_fields(packet: bytes) -> tuple[list[Field], list[str]]:
    """The origin fields of an XMP packet, whether written as attributes, elements or lists.

    Args:
        packet: bytes, in any encoding that XML names. A packet that breaks off gives the fields before that.

    Returns:
        The fields, and what was wrong with the packet, a sentence each.
    """
    fields: list[Field] = []
    path: list[tuple[str, str]] = []
    text: list[str] = []

    def add(name: tuple[str, str], value: str) -> None:
        if name in _KEYS and value.strip() and len(fields) < _FIELDS:
            fields.append(Field("XMP", name[1], value.strip()))

    def start(tag: str, attributes: dict[str, str]) -> None:
        path.append(_split(tag))
        text.clear()
        for attribute, value in attributes.items():
            namespace, name = _split(attribute)
            # A property may also point to its value: <Iptc4xmpExt:DigitalSourceType rdf:resource="..."/>.
            add(path[-1] if (namespace, name) == (_RDF, "resource") else (namespace, name), value)

    def end(_: str) -> None:
        value = "".join(text)
        text.clear()
        # The items of a list belong to the property around it, past rdf:li and rdf:Alt, rdf:Bag or rdf:Seq.
        owner = next((name for name in reversed(path[-3:]) if name[0] != _RDF), ("", ""))
        path.pop()
        add(owner, value)

    def refuse(*_: object) -> None:
        raise _DocumentTypeError

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(packet.strip(b"\0 \r\n\t"), True)
    except _DocumentTypeError:
        return [], ["XMP: declares a document type, which XMP never needs and attacks do; it was not read"]
    except expat.ExpatError as error:
        return fields, [f"XMP: broken XML ({error})"]
    except Exception as error:  # Python's codecs, for the encoding that the packet declares, raise whatever they like
        return fields, [f"XMP: cannot be read ({type(error).__name__}: {error})"]
    return fields, []


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(" ")
    return namespace, local
