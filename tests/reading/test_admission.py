import struct

from deepfake_tf.contract import ERROR_TOO_LARGE
from deepfake_tf.reading.admission import admit


def tiff_that_claims(width: int, height: int) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height), (279, width * height)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def test_a_tiff_with_too_many_pixels_is_called_so_above_pillows_own_limit_too():
    for side in (9_000, 15_000):
        assert admit(tiff_that_claims(side, side)) == (b"", ERROR_TOO_LARGE)
