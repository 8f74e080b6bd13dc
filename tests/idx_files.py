"""Writes small data sets in MNIST's IDX format, whole or broken, for tests of what reads them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

IMAGES, LABELS = 0x00000803, 0x00000801


def idx(array: np.ndarray, magic: int) -> bytes:
    """The content of an IDX file of unsigned bytes."""
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def stripes(count: int, size: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, size, size) and labels (count,): a bright row if even, a bright column if odd."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = generator.integers(0, 40, (count, size, size))
    for image, label in zip(images, labels, strict=True):
        where = label // 2 % size
        if label % 2:
            image[:, where] = 250
        else:
            image[where, :] = 250
    return images, labels


def write_mnist(folder: Path, train: int = 40, test: int = 20, size: int = 6, compress: bool = False) -> Path:
    """Make ``folder`` with the four files of a small data set; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = stripes(count, size, seed)
        for name, content in (
            (f"{part}-images-idx3-ubyte", idx(images, IMAGES)),
            (f"{part}-labels-idx1-ubyte", idx(labels, LABELS)),
        ):
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder
