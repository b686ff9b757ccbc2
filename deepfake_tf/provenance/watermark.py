"""The invisible watermark of Stable Diffusion's reference programs and of their offspring: DWT-DCT, in blue chroma.

The package `invisible-watermark` (method "dwtDct", which despite its name takes no cosine transform) writes a short
message, the same in every image of a program, again and again: of the means of 2 x 2 pixels of U, doubled, each block
of 4 x 4 carries one bit, row by row. Of the block's values, the first left out, the one largest in magnitude is moved
within its cell of 36: to a quarter of it for 0, to three quarters for 1.

Here each of a block's values counts by how likely it is the one that was moved, and all blocks of one bit vote
together. As many bits are taken for 1 as the message has, those with most votes: smooth areas and compression favour
one value, and do so for all bits alike. A long text has a rhythm, for its letters begin alike, and so have tiles and
stripes: its bits are compared only with those at the same place of other letters, where no rhythm helps.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import PIL.Image

from deepfake_tf.reading.pictures import to_rgb

MIN_PIXELS = 256 * 256  # the encoder refuses smaller images
MAX_PIXELS = 2048 * 2048  # of larger ones the programs write none, and enlarging an image destroys the mark
FALSE_ALARMS = 1e-5  # at most, a share of the images without a mark

_HALVED = [(2, 2), (1, 1), (1, 1)]  # the sampling factors of a JPEG whose chroma has half the size of its luma
_CELL = 36.0
_BLOCK = 4
_BLOCKS_READ = 1 << 14  # of one image: those of a square of 1024 pixels


@dataclasses.dataclass(frozen=True)
class Watermark:
    """A mark that was found.

    Attributes:
        program: str. Whose reference programs write it.
        matching: int. How many bits of the message were read right.
        bits: int. How many the message has.
    """

    program: str
    matching: int
    bits: int


@dataclasses.dataclass(frozen=True)
class _Message:
    """What a program writes, and how.

    Attributes:
        program: str.
        bits: bool [L].
        signed: bool. Whether the encoder was handed floats, of which U lies around 0, or bytes, where it lies around
            128: another value of a block is the largest in magnitude then.
        swapped: bool. Whether it was handed RGB for BGR, as earlier releases of diffusers do.
        period: int, a divisor of L. Only bits whose places differ by a multiple of it are compared with each other.
    """

    program: str
    bits: np.ndarray
    signed: bool = False
    swapped: bool = False
    period: int = 1

    @property
    def ones(self) -> tuple[int, ...]:
        """How many bits are 1, of those that are compared with each other."""
        return tuple(map(int, self.bits.reshape(-1, self.period).sum(axis=0)))

    def matching(self, votes: np.ndarray) -> int:
        """How many bits are read right where the votes, float [L], are for 1 above and for 0 below."""
        ranks = votes.reshape(-1, self.period).argsort(axis=0).argsort(axis=0)
        taken = ranks >= len(ranks) - np.array(self.ones)
        return int((taken.ravel() == self.bits).sum())


def _text(message: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(message, np.uint8)).astype(bool)


def _number(message: int) -> np.ndarray:
    """Without the zeros before the first one, which the programs lose."""
    return np.array([digit == "1" for digit in f"{message:b}"])


_XL = _number(0xB3EC907BB19E)
_MESSAGES = (
    _Message("Stable Diffusion 1", _text(b"StableDiffusionV1"), period=8),
    _Message("Stable Diffusion 2", _text(b"SDV2")),
    _Message("Stable Diffusion XL", _XL, signed=True),
    _Message("Stable Diffusion XL", _XL, signed=True, swapped=True),
    _Message("FLUX", _number(0x2AFE879CF52E), signed=True),
)
# How far from its place a moved value is looked for, and how far below the largest one of its block: of pixels as they
# were written, and of compressed ones.
_READINGS = ((2.0, 8.0), (5.0, 2.0))


@functools.cache
def matching_bits_needed(bits: int, ones: tuple[int, ...]) -> int:
    """How many bits of a message must be read right for the mark to count as found.

    Without a mark, it is assumed, the image knows nothing of the message: of the bits that are compared with each
    other, whichever get most votes, any others were as likely. The ones read right then are a sum of independent
    hypergeometric numbers, and fewer than `FALSE_ALARMS` of the images have so many, all messages and readings taken
    together.

    Args:
        bits: int. The message's length.
        ones: how many bits are 1, and are taken for 1, of each of the equally many that are compared with each other.
    """
    size = bits // len(ones)
    ways = {0: 1}  # ones read right -> in how many ways
    for count in ones:
        longer: dict[int, int] = {}
        for right, before in ways.items():
            for more in range(count + 1):
                chosen = math.comb(count, more) * math.comb(size - count, count - more)
                longer[right + more] = longer.get(right + more, 0) + before * chosen
        ways = longer
    most = FALSE_ALARMS / (len(_MESSAGES) * len(_READINGS)) * sum(ways.values())
    total = 0
    for right in sorted(ways, reverse=True):
        total += ways[right]
        if total > most:
            return bits - 2 * (sum(ones) - right - 1)  # each one that is missed leaves a zero taken for 1
    return 0


def find_watermark(image: PIL.Image.Image) -> Watermark | None:
    """The mark in an image; None where none is found, which means nothing: most programs write none.

    Args:
        image: of any mode and size, best not yet decoded: of a JPEG that stores chroma at half its size, that is read.

    Raises:
        OSError, ValueError: the image cannot be decoded.
    """
    if not MIN_PIXELS <= image.width * image.height <= MAX_PIXELS or min(image.size) < 2 * _BLOCK:
        return None
    found = [
        Watermark(message.program, matching, len(message.bits))
        for message, matching in _read(_means(image))
        if matching >= matching_bits_needed(len(message.bits), message.ones)
    ]
    return max(found, key=lambda mark: mark.matching / mark.bits, default=None)


def _means(image: PIL.Image.Image) -> np.ndarray:
    """float32 [h, w, 3], RGB 0..255: the means of 2 x 2 pixels, whose sides are even."""
    width, height = image.width // 4 * 2, image.height // 4 * 2
    if [tuple(layer[1:3]) for layer in getattr(image, "layer", ())] == _HALVED:
        image.draft("RGB", (image.width // 2, image.height // 2))
        if image.width < 2 * width:  # the draft is not taken where the image was decoded already
            return np.asarray(to_rgb(image), np.float32)[:height, :width]
    pixels = np.asarray(to_rgb(image))[: 2 * height, : 2 * width].astype(np.float32)
    return (pixels[0::2, 0::2] + pixels[0::2, 1::2] + pixels[1::2, 0::2] + pixels[1::2, 1::2]) / 4


def _read(means: np.ndarray) -> list[tuple[_Message, int]]:
    """How many bits are read right, of each message in each reading."""
    counts = []
    evidence_of: dict[tuple[bool, bool], np.ndarray] = {}
    for message in _MESSAGES:
        convention = message.signed, message.swapped
        if convention not in evidence_of:
            blocks = _blocks(means, *convention)
            evidence_of[convention] = np.stack([_evidence(blocks, *reading) for reading in _READINGS])
        evidence = evidence_of[convention]
        rounds = evidence.shape[1] // len(message.bits)
        votes = evidence[:, : rounds * len(message.bits)].reshape(len(_READINGS), rounds, -1).sum(axis=1)
        counts += [(message, message.matching(reading)) for reading in votes]
    return counts


def _blocks(means: np.ndarray, signed: bool, swapped: bool) -> np.ndarray:
    """float32 [N, 15]: the magnitudes that could carry a block's bit, in the encoder's order of the blocks."""
    red, green, blue = means[..., 0], means[..., 1], means[..., 2]
    if swapped:
        red, blue = blue, red
    u = 0.492 * (blue - (0.299 * red + 0.587 * green + 0.114 * blue)) + (0.5 if signed else 128)
    rows, columns = u.shape[0] // _BLOCK, u.shape[1] // _BLOCK
    rows = min(rows, max(1, _BLOCKS_READ // columns))
    blocks = u[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK).transpose(0, 2, 1, 3)
    return np.abs(2 * blocks.reshape(rows * columns, _BLOCK**2)[:, 1:])


def _evidence(magnitudes: np.ndarray, spread: float, depth: float) -> np.ndarray:
    """float32 [N]: above 0 where a block's bit is likelier 1, below where 0.

    Args:
        magnitudes: float32 [N, 15], 0 and up.
        spread: float. The standard deviation of a moved value around its place.
        depth: float. How far below the largest value of its block a moved one may be.
    """
    largest = magnitudes.max(axis=1, keepdims=True)
    within = magnitudes - np.floor(largest / _CELL) * _CELL  # its cell, for it was moved within that of the largest
    weight = np.exp((magnitudes - largest) / depth) * (within > -spread)
    zero, one = (
        (weight * np.exp(-((within - place * _CELL) ** 2) / (2 * spread**2))).sum(axis=1) for place in (0.25, 0.75)
    )
    doubt = 0.05  # that none of the values is one that was moved: no block outvotes the others
    return np.log((one + doubt) / (zero + doubt))
