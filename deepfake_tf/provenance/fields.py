"""A metadata field as it stands in a file, before anybody asks what it means."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Field:
    """One named text value.

    Attributes:
        place: the kind of metadata: "PNG text", "EXIF", "XMP", "IPTC" or "JPEG comment".
        key: the field's name as its standard spells it, such as "UserComment"; empty for a JPEG comment.
        value: its text, whole, untrusted.
    """

    place: str
    key: str
    value: str

    @property
    def source(self) -> str:
        """Where a reader would look it up: "EXIF UserComment", "PNG text 'parameters'"."""
        if self.place == "PNG text":
            return f"PNG text {self.key!r}"
        return f"{self.place} {self.key}".strip()
