"""Pairs of almost equal perceptual hashes among very many, without comparing each with each."""

from __future__ import annotations

import itertools

import numpy as np

MAX_BITS = 4  # of 64 may differ: above it, photographs of like composition come in
WINDOW = 64  # neighbours compared inside a bucket, so that thousands of like hashes cost no square
_BAND_WIDTHS = (11, 11, 11, 11, 10, 10)  # bits
_BAND_MASKS = [
    np.uint64(((1 << width) - 1) << start)
    for width, start in zip(_BAND_WIDTHS, itertools.accumulate(_BAND_WIDTHS, initial=0))
]


def near_pairs(hashes: np.ndarray) -> np.ndarray:
    """Pairs of hashes that differ in at most MAX_BITS bits.

    Six bands of bits, of which four differing bits can touch four: two are equal in every pair looked for. So each
    two bands sort the hashes into buckets, and only hashes of one bucket are compared (Norouzi, Punjani and Fleet,
    "Fast Exact Search in Hamming Space With Multi-Index Hashing", 2014). In a bucket of more than WINDOW hashes
    each meets only the WINDOW that follow it in order, which links groups but not all of their pairs.

    Args:
        hashes: uint64 [N].

    Returns:
        int64 [P, 2], positions with the smaller first, each pair once.
    """
    count = len(hashes)
    by_hash = np.argsort(hashes, kind="stable")
    hashes = hashes[by_hash]
    found = np.zeros(0, np.int64)
    for first, second in itertools.combinations(_BAND_MASKS, 2):
        keys = hashes & (first | second)
        order = np.argsort(keys, kind="stable")  # stable: inside a bucket, close hashes stay side by side
        keys = keys[order]
        left, of_this_order = np.arange(count), [found]
        for offset in range(1, WINDOW + 1):
            left = left[left < count - offset]
            left = left[keys[left] == keys[left + offset]]  # a bucket left behind here is behind at any larger offset
            if not len(left):
                break
            one, other = order[left], order[left + offset]
            close = np.bitwise_count(hashes[one] ^ hashes[other]) <= MAX_BITS
            one, other = by_hash[one[close]], by_hash[other[close]]
            of_this_order.append(np.minimum(one, other) * count + np.maximum(one, other))
        found = np.unique(np.concatenate(of_this_order))
    return np.stack(np.divmod(found, max(count, 1)), axis=1)
