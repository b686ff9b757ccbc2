"""What `Detector` makes of a file before an engine sees it: formats that no engine decodes become pixels here."""

from __future__ import annotations

import numpy as np
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
from deepfake_tf.reading.orientation import UPRIGHT, exif_orientation, turn_upright
from deepfake_tf.reading.pictures import MissingDecoderError, encode_bmp, encode_png, open_image, to_upright_rgb
from deepfake_tf.reading.well_formed import png_exif, webp_exif

_EXIF_OF = {"PNG": png_exif, "WEBP": webp_exif}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def admit(encoded: bytes, well_formed: bool = True) -> tuple[bytes, str]:
    """An image that any engine decodes, and why there is none.

    TIFF, AVIF and HEIC (the first picture in the file) become a BMP, upright; so do a PNG and a WebP that say how they
    are to be turned. (A JPEG keeps its pixels and its orientation, which those who judge photographs apply.)

    Args:
        encoded: an image file, or anything else.
        well_formed: bool. Whether the formats that engines decode are brought into the form that they take alike, or
            refused; see `pillow_reader.admit`. An engine that does so by itself is handed the file as it came.

    Raises:
        MemoryError: not enough for the picture.
    """
    if encoded.startswith(_TIFF) or is_iso_image(encoded[:32]):
        return _transcode(encoded)
    orientation = _read_orientation(encoded)
    if orientation == UPRIGHT and not well_formed and pillow_reader.read_format(encoded):
        return encoded, ""
    picture, _, _, error = pillow_reader.admit(encoded)
    if error == ERROR_TOO_LARGE:
        return encoded, ""  # the engine says so too, and adds the size
    if not error and orientation != UPRIGHT:
        return _turn(picture, orientation)
    return picture, ERROR_UNKNOWN_FILE if error == ERROR_UNKNOWN else error


def check_size(width: int, height: int) -> str:
    """Why an image of so many pixels is refused, or empty."""
    return ERROR_TOO_LARGE if width * height > MAX_PIXELS else ""


def _read_orientation(encoded: bytes) -> int:
    """Of a PNG or WebP, by its EXIF; see `orientation.read_orientation`."""
    find_exif = _EXIF_OF.get(pillow_reader.read_format(encoded))
    return exif_orientation(find_exif(encoded)) if find_exif else UPRIGHT


def _turn(picture: bytes, orientation: int) -> tuple[bytes, str]:
    try:
        pixels = turn_upright(pillow_reader.decode(picture), orientation)
    except MemoryError:
        raise
    except Exception:  # as in `_transcode`
        return b"", ERROR_DAMAGED
    return _encode(Image.fromarray(np.ascontiguousarray(pixels))), ""


def _transcode(encoded: bytes) -> tuple[bytes, str]:
    try:
        with open_image(encoded) as image:
            if error := check_size(*image.size):
                return b"", error
            picture = to_upright_rgb(image)
    except MissingDecoderError as error:
        return b"", str(error)
    except MemoryError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, above ours
        return b"", ERROR_TOO_LARGE
    except Exception:  # decoders of damaged files raise whatever they stumble over
        return b"", ERROR_DAMAGED
    return _encode(picture), ""


def _encode(picture: Image.Image) -> bytes:
    bmp = encode_bmp(picture)
    return bmp if len(bmp) <= MAX_FILE_BYTES else encode_png(picture)  # a server takes no more
