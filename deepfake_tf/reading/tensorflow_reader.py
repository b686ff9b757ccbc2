"""The way of an image, written once: bytes -> header -> pixels -> the network's input.

The training pipeline and the exported signatures call these functions, so that training and serving
cannot drift apart. Pixels are taken as they are stored: an EXIF orientation is not applied.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from deepfake_tf.config import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD

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
        GIF: lambda: _gif_size(image_bytes, head),
        BMP: lambda: (_little_endian(head[18:22]), tf.abs(_little_endian(head[22:26]))),
        WEBP: lambda: _webp_size(head),
        UNKNOWN: lambda: (tf.constant(0), tf.constant(0)),
    }
    width, height = tf.switch_case(image_format, sizes)
    return image_format, width, height


def decode(image_bytes: tf.Tensor, image_format: tf.Tensor | None = None) -> tf.Tensor:
    """Decode one image: JPEG, PNG, GIF (its first frame), BMP or WebP.

    Args:
        image_bytes: string []. An encoded image; check its size with `read_header` first.
        image_format: int32 [], of `read_header`; None looks again.

    Returns:
        uint8 [H, W, 3], RGB 0..255. Grey is repeated, alpha dropped, 16 bits cut to 8.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no such image, or a truncated one.
    """
    head = _head(image_bytes)
    if image_format is None:
        image_format = _format(head)
    has_palette = (image_format == BMP) & (head[28] == 8)
    other = lambda data: tf.io.decode_image(data, channels=3, expand_animations=False)
    decoders = {
        # The accurate DCT is what Pillow and OpenCV decode with; TensorFlow's default is not.
        JPEG: lambda: tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE"),
        PNG: lambda: other(image_bytes),
        GIF: lambda: other(_first_gif_frame(image_bytes)),
        BMP: lambda: tf.cond(has_palette, lambda: _decode_palette_bmp(image_bytes), lambda: other(image_bytes)),
        WEBP: lambda: _decode_webp(image_bytes, head),
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


def _gif_size(image_bytes, head):
    """Of the canvas or of the first frame, whichever is larger: the decoder makes room for both."""
    data = tf.cast(tf.io.decode_raw(image_bytes, tf.uint8), tf.int32)
    start, _ = _find_first_gif_frame(data)
    frame = tf.ensure_shape(tf.pad(data, [[0, 9]])[start : start + 9], [9])
    width = tf.maximum(_little_endian(head[6:8]), _little_endian(frame[5:7]))
    height = tf.maximum(_little_endian(head[8:10]), _little_endian(frame[7:9]))
    return width, height


def _first_gif_frame(image_bytes):
    """The file up to its first frame: the decoder would unpack every frame, gigabytes in a hostile file."""
    _, end = _find_first_gif_frame(tf.cast(tf.io.decode_raw(image_bytes, tf.uint8), tf.int32))
    return tf.strings.substr(image_bytes, 0, end) + b"\x3b"


def _find_first_gif_frame(data):
    """Where the first image descriptor starts, and where its data ends: GIF89a specification, section 20.

    Args:
        data: int32 [length]. The bytes of the file.
    """
    length = tf.size(data)
    padded = tf.concat([data, [0]], axis=0)
    at = lambda position: padded[tf.minimum(position, length)]  # 0 behind the end: every loop stops there
    colour_table = lambda flags: tf.where(flags >= 0x80, 3 * tf.bitwise.left_shift(2, flags & 7), 0)

    def skip_sub_blocks(position):
        """From a length byte to behind the empty block that ends the chain."""
        position = tf.while_loop(
            lambda position: at(position) > 0, lambda position: [position + 1 + at(position)], [position]
        )[0]
        return position + 1

    start = 13 + colour_table(at(10))
    start = tf.while_loop(  # extensions stand before the frame
        lambda position: at(position) == 0x21, lambda position: [skip_sub_blocks(position + 2)], [start]
    )[0]
    end = skip_sub_blocks(start + 10 + colour_table(at(start + 9)) + 1)
    return tf.minimum(start, length), tf.minimum(end, length)


def _decode_palette_bmp(image_bytes):
    """An 8-bit BMP: the decoder returns the palette's indices as if they were grey levels."""
    head = _head(image_bytes)
    with tf.control_dependencies([tf.debugging.assert_equal(head[30], 0, "a compressed BMP is not supported")]):
        indices = tf.io.decode_bmp(image_bytes)[:, :, 0]
    start, end = 14 + _little_endian(head[14:18]), _little_endian(head[10:14])
    palette = tf.io.decode_raw(tf.strings.substr(image_bytes, start, end - start), tf.uint8)
    return tf.gather(tf.reshape(palette, [-1, 4])[:, 2::-1], tf.cast(indices, tf.int32))


def _decode_webp(image_bytes, head):
    """A WebP image, or the first frame of an animation, without its alpha."""
    # TensorFlow's decoder (2.21) writes a frame as RGBA into room made for the channels that the header states:
    # without the alpha flag, RFC 9649 section 2.7, an animation overruns it, and the process dies.
    is_animation = (head[15] == ord("X")) & (head[20] & 0x02 > 0)
    flagged = lambda: tf.strings.join(
        [
            tf.strings.substr(image_bytes, 0, 20),
            b"\x12",  # animation and alpha
            tf.strings.substr(image_bytes, 21, tf.strings.length(image_bytes)),
        ]
    )
    image_bytes = tf.cond(is_animation, flagged, lambda: image_bytes)
    # Asked for 3 channels, it refuses an image with alpha.
    return tf.io.decode_image(image_bytes, channels=0, expand_animations=False)[..., :3]


def _webp_size(head):
    """RFC 9649: VP8 (lossy), VP8L (lossless) and VP8X (extended) keep their size in three ways."""
    variant = head[15]
    bits = _little_endian(head[21:25])
    lossy = (_little_endian(head[26:28]) & 0x3FFF, _little_endian(head[28:30]) & 0x3FFF)
    lossless = ((bits & 0x3FFF) + 1, (tf.bitwise.right_shift(bits, 14) & 0x3FFF) + 1)
    extended = (_little_endian(head[24:27]) + 1, _little_endian(head[27:30]) + 1)
    return tuple(
        tf.where(variant == ord("L"), b, tf.where(variant == ord("X"), c, a))
        for a, b, c in zip(lossy, lossless, extended)
    )


def _little_endian(octets):
    return tf.reduce_sum(octets * tf.constant([1, 1 << 8, 1 << 16, 1 << 24][: octets.shape[0]]))


def _big_endian(octets):
    return _little_endian(octets[::-1])
