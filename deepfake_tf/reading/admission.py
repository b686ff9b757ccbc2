"""What `Detector` makes of a file before an engine sees it: formats that no engine decodes become pixels here."""

from __future__ import annotations

from PIL import Image

from deepfake_tf.contract import (
    ERROR_DAMAGED,
    ERROR_TOO_LARGE,
    ERROR_UNKNOWN,
    ERROR_UNKNOWN_FILE,
    MAX_FILE_BYTES,
    MAX_PIXELS,
)
from deepfake_tf.reading import pillow_reader
from deepfake_tf.reading.files import is_iso_image
from deepfake_tf.reading.pictures import MissingDecoderError, encode_bmp, encode_png, open_image, to_rgb

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def admit(encoded: bytes, well_formed: bool = True) -> tuple[bytes, str]:
    """An image that any engine decodes, and why there is none.

    TIFF, AVIF and HEIC (the first picture in the file) become a BMP.

    Args:
        encoded: an image file, or anything else.
        well_formed: bool. Whether the formats that engines decode are brought into the form that they take alike, or
            refused; see `pillow_reader.admit`. An engine that does so by itself is handed the file as it came.

    Raises:
        MemoryError: not enough for the picture.
    """
    if encoded.startswith(_TIFF) or is_iso_image(encoded[:32]):
        return _transcode(encoded)
    if not well_formed and pillow_reader.read_format(encoded):
        return encoded, ""
    picture, _, _, error = pillow_reader.admit(encoded)
    if error == ERROR_TOO_LARGE:
        return encoded, ""  # the engine says so too, and adds the size
    return picture, ERROR_UNKNOWN_FILE if error == ERROR_UNKNOWN else error


def check_size(width: int, height: int) -> str:
    """Why an image of so many pixels is refused, or empty."""
    return ERROR_TOO_LARGE if width * height > MAX_PIXELS else ""


def _transcode(encoded: bytes) -> tuple[bytes, str]:
    try:
        with open_image(encoded) as image:
            if error := check_size(*image.size):
                return b"", error
            picture = to_rgb(image)
    except MissingDecoderError as error:
        return b"", str(error)
    except MemoryError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, above ours
        return b"", ERROR_TOO_LARGE
    except Exception:  # decoders of damaged files raise whatever they stumble over
        return b"", ERROR_DAMAGED
    bmp = encode_bmp(picture)
    return (bmp if len(bmp) <= MAX_FILE_BYTES else encode_png(picture)), ""  # a server takes no more
