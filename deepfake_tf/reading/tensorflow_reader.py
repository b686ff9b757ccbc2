"""The way of an image, written once: bytes -> header -> pixels -> the network's input.

The training pipeline and the exported signatures call these functions, so that training and serving
cannot drift apart. `decode` gives the pixels as they are stored; `turn_upright` applies what `read_orientation` finds.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepfake_tf.detectors.cifake import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from deepfake_tf.reading import orientation as exif
from deepfake_tf.reading.well_formed import BMP_MASKS, JPEG_END, JPEG_FILLER, PNG_END

JPEG, PNG, GIF, BMP, WEBP, UNKNOWN = range(6)  # the formats that `read_header` tells apart
_MAGIC_NUMBERS = {  # None: any byte
    JPEG: list(b"\xff\xd8\xff"),
    PNG: list(b"\x89PNG\r\n\x1a\n"),
    GIF: list(b"GIF8"),
    BMP: list(b"BM"),
    WEBP: [*b"RIFF", None, None, None, None, *b"WEBP"],
}
_HEAD_BYTES = 32  # as much as the size of a PNG, BMP or WebP stands in


def read_header(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Format and size as the header states them; nothing is decoded.

    Args:
        image_bytes: string []. An encoded image, or anything else.

    Returns:
        Three int32 []: format (JPEG, PNG, GIF, BMP, WEBP or UNKNOWN), width and height in pixels. The
        size is 0 x 0 where the format is unknown or the header is cut off.

    Raises:
        tf.errors.InvalidArgumentError: a JPEG whose headers cannot be followed.
    """
    head = _head(image_bytes)
    image_format = _format(head)
    sizes = {
        JPEG: lambda: _jpeg_size(image_bytes),
        PNG: lambda: (_big_endian(head[16:20]), _big_endian(head[20:24])),
        GIF: lambda: _gif_size(image_bytes),
        BMP: lambda: (_little_endian(head[18:22]), tf.abs(_little_endian(head[22:26]))),
        WEBP: lambda: _webp_size(image_bytes),
        UNKNOWN: lambda: (tf.constant(0), tf.constant(0)),
    }
    width, height = tf.switch_case(image_format, sizes)
    return image_format, width, height


def decode(image_bytes: tf.Tensor, image_format: tf.Tensor | None = None) -> tf.Tensor:
    """Decode one image: JPEG, PNG, GIF or WebP (of an animation the first frame), or BMP.

    What is refused: see `deepfake_tf.reading.well_formed`, whose rule this is.

    Args:
        image_bytes: string []. An encoded image; check its size with `read_header` first.
        image_format: int32 [], of `read_header`; None looks again.

    Returns:
        uint8 [H, W, 3], RGB 0..255. Grey is repeated, alpha dropped, 16 bits cut to 8.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such image, or a truncated one.
    """
    if image_format is None:
        image_format = _format(_head(image_bytes))
    other = lambda data: tf.io.decode_image(data, channels=3, expand_animations=False)
    decoders = {
        JPEG: lambda: _decode_jpeg(image_bytes),
        PNG: lambda: other(_ended_png(image_bytes)),
        GIF: lambda: other(_first_gif_frame(image_bytes)),
        BMP: lambda: _decode_bmp(image_bytes),
        # Asked for 3 channels, it refuses an image with alpha.
        WEBP: lambda: tf.io.decode_image(_webp_picture(image_bytes), channels=0, expand_animations=False)[..., :3],
        UNKNOWN: lambda: other(image_bytes),
    }
    image = tf.switch_case(image_format, decoders)
    return tf.ensure_shape(image, [None, None, 3])


def resize(images: tf.Tensor, size: int = IMAGE_SIZE) -> tf.Tensor:
    """Resize to the network's square, antialiased bilinear, rounded to whole grey levels.

    Rounding makes this the very input that a phone hands to the LiteRT model, and lets other resizers
    be held to it.

    Args:
        images: uint8 [N, H, W, 3] or [H, W, 3].
        size: int. Side of the result, in pixels. The aspect ratio is not kept.

    Returns:
        uint8 [N, size, size, 3] or [size, size, 3].
    """
    batch = images if images.shape.rank == 4 else images[None]
    # What tf.image.resize(..., "bilinear", antialias=True) calls, less its float32 copy of the input,
    # which for a photograph of 50 megapixels takes 600 MB.
    resized = tf.raw_ops.ScaleAndTranslate(
        images=batch,
        size=[size, size],
        scale=tf.constant(size, tf.float32) / tf.cast(tf.shape(batch)[1:3], tf.float32),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    pixels = tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
    return pixels if images.shape.rank == 4 else pixels[0]


tensorflow_view = resize  # of the detector `cifake`


def read_orientation(image_bytes: tf.Tensor) -> tf.Tensor:
    """How the pixels of a JPEG are to be turned, by its EXIF: string [] -> int32 [], 1 (not at all) to 8.

    The twin of `deepfake_tf.reading.orientation.read_orientation`, which says what is looked through.
    """
    length = tf.strings.length(image_bytes)
    part = lambda position, count: tf.strings.substr(image_bytes, tf.minimum(position, length), count)
    is_exif = lambda position: (part(position, 2) == b"\xff\xe1") & (part(position + 4, 6) == exif.EXIF)

    def goes_on(position):
        marker = _octets(image_bytes, position, 2)
        is_segment = (marker[0] == 0xFF) & tf.reduce_all(marker[1] != [0xD9, 0xDA]) & (position + 1 < length)
        return is_segment & ~is_exif(position)

    def following(position):
        octets = _octets(image_bytes, position, 4)
        return [position + tf.where(octets[1] == 0xFF, 1, 2 + _big_endian(octets[2:]))]

    position = tf.while_loop(goes_on, following, [2], maximum_iterations=exif.SEGMENTS - 1)[0]
    tiff = part(position + 10, exif.EXIF_BYTES)
    is_little = part(position + 10, 2) == b"II"
    number = lambda octets: tf.where(is_little, _little_endian(octets), _big_endian(octets))
    directory = number(_octets(tiff, 4, 4))
    directory = tf.where(directory < 0, exif.EXIF_BYTES, tf.minimum(directory, exif.EXIF_BYTES))
    count = number(_octets(tiff, directory, 2))
    fields = tf.reshape(_octets(tiff, directory + 2, 12 * exif.FIELDS), [exif.FIELDS, 12])
    by_order = lambda at: tf.where(
        is_little, fields[:, at] + 256 * fields[:, at + 1], 256 * fields[:, at] + fields[:, at + 1]
    )
    is_orientation = (by_order(0) == exif.TAG) & (by_order(2) == exif.SHORT) & (tf.range(exif.FIELDS) < count)
    value = tf.where(tf.reduce_any(is_orientation), by_order(8)[tf.argmax(is_orientation)], exif.UPRIGHT)
    is_stated = (value > exif.UPRIGHT) & (value <= 8) & is_exif(position) & (part(0, 3) == b"\xff\xd8\xff")
    return tf.where(is_stated, value, exif.UPRIGHT)


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A square, [side, side, 3], as stored -> as it is shown; `orientation` is int32 []."""
    is_one_of = lambda values: tf.reduce_any(orientation == values)
    pixels = tf.where(is_one_of(exif.DIAGONAL), tf.transpose(pixels, [1, 0, 2]), pixels)
    pixels = tf.where(is_one_of(exif.ROWS), pixels[::-1], pixels)
    return tf.where(is_one_of(exif.COLUMNS), pixels[:, ::-1], pixels)


def normalise(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 or float32 [..., 3], 0..255 -> float32 of the same shape, -1..1: (x / 255 - 0.5) / 0.5."""
    return (tf.cast(pixels, tf.float32) / 255.0 - PIXEL_MEAN) / PIXEL_STD


def _head(image_bytes):
    """int32 [_HEAD_BYTES]: the first bytes of the file, zeros for what a short one lacks."""
    return tf.cast(tf.io.decode_raw(image_bytes, tf.uint8, fixed_length=_HEAD_BYTES), tf.int32)


def _format(head):
    magic = np.zeros((UNKNOWN, 16), np.int32)
    matters = np.zeros(magic.shape, bool)
    for number, octets in _MAGIC_NUMBERS.items():
        for position, octet in enumerate(octets):
            if octet is not None:
                magic[number, position], matters[number, position] = octet, True
    matches = tf.reduce_all((head[:16] == magic) | ~matters, axis=1)
    return tf.argmax(tf.concat([matches, [True]], axis=0), output_type=tf.int32)  # the first that is true


def _jpeg_size(image_bytes):
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(image_bytes), num=3)
    return width, height


def _decode_jpeg(image_bytes):
    # The accurate DCT is what Pillow and OpenCV decode with; TensorFlow's default is not.
    decode_whole = lambda data: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    length = tf.strings.length(image_bytes)
    tail = tf.strings.substr(image_bytes, tf.maximum(length - 2, 0), 2)

    def decode_endless():
        """Where the end marker alone is missing, the pixels do not depend on what follows the scan."""
        last = tf.strings.substr(image_bytes, length - 1, 1)
        scan = tf.strings.substr(image_bytes, 0, length - tf.cast(last == JPEG_END[:1], tf.int32))
        image = decode_whole(tf.strings.join([scan, JPEG_END]))
        again = decode_whole(tf.strings.join([scan, JPEG_FILLER, JPEG_END]))
        is_whole = tf.reduce_all(image == again)
        with tf.control_dependencies([tf.debugging.assert_equal(is_whole, True, "the JPEG is cut off")]):
            return tf.identity(image)

    return tf.cond(tail == JPEG_END, lambda: decode_whole(image_bytes), decode_endless)


def _ended_png(image_bytes):
    """The file with an end chunk: where none stands at its end, up to its last whole chunk, and with one."""
    length = tf.strings.length(image_bytes)
    tail = tf.strings.substr(image_bytes, tf.maximum(length - len(PNG_END), 0), len(PNG_END))

    def next_chunk(position):
        size = _big_endian(_octets(image_bytes, position, 4))
        end = position + 12 + size
        is_whole = (position + 12 <= length) & (size >= 0) & (end > position) & (end <= length)
        return is_whole & (tf.strings.substr(image_bytes, tf.minimum(position + 4, length), 4) != b"IEND"), end

    def ended():
        position = tf.while_loop(
            lambda position: next_chunk(position)[0], lambda position: [next_chunk(position)[1]], [8]
        )[0]
        return tf.strings.join([tf.strings.substr(image_bytes, 0, position), PNG_END])

    return tf.cond(tail == PNG_END, lambda: image_bytes, ended)


def _gif_size(image_bytes):
    """Of the first frame, which is what is read."""
    start, _ = _find_first_gif_frame(tf.cast(tf.io.decode_raw(image_bytes, tf.uint8), tf.int32))
    size = _octets(image_bytes, start + 5, 4)
    return _little_endian(size[:2]), _little_endian(size[2:])


def _first_gif_frame(image_bytes):
    """A file of the first frame alone: the decoder would unpack every frame, gigabytes in a hostile file.

    The canvas gets the frame's size: the decoder would move a frame that stands elsewhere out of the picture.
    """
    data = tf.cast(tf.io.decode_raw(image_bytes, tf.uint8), tf.int32)
    start, end = _find_first_gif_frame(data)
    part = lambda first, last: tf.strings.substr(image_bytes, first, last - first)
    size = part(start + 5, start + 9)
    tables = 13 + _gif_table(_octets(image_bytes, 10, 1)[0])
    is_frame = part(start, start + 1) == b"\x2c"
    with tf.control_dependencies([tf.debugging.assert_equal(is_frame, True, "the GIF holds no frame")]):
        pieces = [b"GIF89a", size, part(10, tables), b"\x2c\0\0\0\0", size, part(start + 9, end), b"\0\x3b"]
    return tf.strings.join(pieces)


def _find_first_gif_frame(data):
    """Where the first image descriptor starts, and where its data ends: GIF89a specification, section 20.

    Args:
        data: int32 [length]. The bytes of the file.
    """
    length = tf.size(data)
    padded = tf.concat([data, [0]], axis=0)
    at = lambda position: padded[tf.minimum(position, length)]  # 0 behind the end: every loop stops there

    def skip_sub_blocks(position):
        """From a length byte to behind the empty block that ends the chain."""
        position = tf.while_loop(
            lambda position: at(position) > 0, lambda position: [position + 1 + at(position)], [position]
        )[0]
        return position + 1

    start = 13 + _gif_table(at(10))
    start = tf.while_loop(  # extensions stand before the frame
        lambda position: at(position) == 0x21, lambda position: [skip_sub_blocks(position + 2)], [start]
    )[0]
    end = skip_sub_blocks(start + 10 + _gif_table(at(start + 9)) + 1)
    return tf.minimum(start, length), tf.minimum(end, length)


def _gif_table(flags):
    """Bytes of the colour table that a packed field announces."""
    return tf.where(flags >= 0x80, 3 * tf.bitwise.left_shift(2, flags & 7), 0)


def _decode_bmp(image_bytes):
    head = _octets(image_bytes, 0, 66)
    start, header_size, bits = _little_endian(head[10:14]), _little_endian(head[14:18]), _little_endian(head[28:30])
    compression = _little_endian(head[30:34])
    has_usual_masks = (bits == 32) & (compression == 3) & tf.reduce_all(head[54:66] == list(BMP_MASKS))
    is_read = (header_size >= 40) & tf.reduce_any(bits == [8, 24, 32]) & ((compression == 0) | has_usual_masks)
    is_read &= start >= header_size + 14
    width, height = (tf.cast(_little_endian(head[at : at + 4]), tf.int64) for at in (18, 22))
    size = (width * tf.cast(bits, tf.int64) + 31) // 32 * 4 * tf.abs(height)
    size = tf.cast(tf.minimum(size, tf.int32.max // 2), tf.int32)
    with tf.control_dependencies([tf.debugging.assert_equal(is_read, True, "a variant of BMP that is not read")]):
        whole = tf.strings.substr(image_bytes, 0, start + size)  # what follows the pixels, the decoder refuses

    def with_palette():  # the decoder returns the palette's indices as if they were grey levels
        indices = tf.io.decode_bmp(whole)[:, :, 0]
        palette = _octets(tf.strings.substr(whole, 14 + header_size, start - 14 - header_size), 0, 4 * 256)
        return tf.gather(tf.cast(tf.reshape(palette, [256, 4])[:, 2::-1], tf.uint8), tf.cast(indices, tf.int32))

    return tf.cond(bits == 8, with_palette, lambda: tf.io.decode_bmp(whole)[:, :, :3])


def _webp_picture(image_bytes):
    """A file of the (first) picture alone: its chunk, lossy or lossless, without its alpha.

    TensorFlow's decoder (2.21) writes past the room it makes for an animation without the alpha flag, and dies.
    """
    start = _find_webp_picture(image_bytes)
    size = _little_endian(_octets(image_bytes, start + 4, 4))
    size += size & 1
    length = tf.strings.length(image_bytes)
    is_whole = (size >= 0) & (start + 8 <= length) & (size <= length - start - 8 + (size & 1))
    octets = [tf.bitwise.right_shift(size + 12, shift) & 0xFF for shift in (0, 8, 16, 24)]
    riff_size = tf.strings.reduce_join(tf.gather([bytes([octet]) for octet in range(256)], tf.stack(octets)))
    with tf.control_dependencies([tf.debugging.assert_equal(is_whole, True, "the WebP is cut off")]):
        picture = tf.strings.substr(image_bytes, start, size + 8)
    padding = tf.where(tf.strings.length(picture) < size + 8, b"\0", b"")
    return tf.strings.join([b"RIFF", riff_size, b"WEBP", picture, padding])


def _find_webp_picture(image_bytes):
    """Where the chunk of kind "VP8 " or "VP8L" starts; at the end where there is none: RFC 9649, section 2.7."""
    length = tf.strings.length(image_bytes)
    kind = lambda position: tf.strings.substr(image_bytes, tf.minimum(position, length), 4)

    def goes_on(position):
        return (position + 8 <= length) & (kind(position) != b"VP8 ") & (kind(position) != b"VP8L")

    def following(position):
        size = _little_endian(_octets(image_bytes, position + 4, 4))
        end = position + 8 + size + (size & 1)
        end = tf.where((size < 0) | (end < position), length, end)
        return [tf.minimum(tf.where(kind(position) == b"ANMF", position + 24, end), length)]

    position = tf.while_loop(goes_on, following, [12])[0]
    return tf.where(position + 8 <= length, position, length)


def _webp_size(image_bytes):
    """Lossy and lossless pictures keep their size in two ways: RFC 6386, section 9.1, and RFC 9649, section 3.4."""
    head = _octets(image_bytes, _find_webp_picture(image_bytes), 18)
    bits = _little_endian(head[9:13])
    lossy = (_little_endian(head[14:16]) & 0x3FFF, _little_endian(head[16:18]) & 0x3FFF)
    lossless = ((bits & 0x3FFF) + 1, (tf.bitwise.right_shift(bits, 14) & 0x3FFF) + 1)
    return tuple(tf.where(head[3] == ord("L"), b, a) for a, b in zip(lossy, lossless))


def _octets(image_bytes, position, count):
    """int32 [count]: the bytes from a position on, zeros for those behind the end."""
    position = tf.minimum(position, tf.strings.length(image_bytes))
    part = tf.strings.substr(image_bytes, position, count)
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int32)


def _little_endian(octets):
    return tf.reduce_sum(octets * tf.constant([1, 1 << 8, 1 << 16, 1 << 24][: octets.shape[0]]))


def _big_endian(octets):
    return _little_endian(octets[::-1])
