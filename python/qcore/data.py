"""Labelled images of handwritten digits: scikit-learn's bundled scans, or a folder of MNIST IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qcore._optional import optional_import

_MNIST_PARTS = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = 0x00000803, 0x00000801  # unsigned bytes (08) in three and in one dimension


class DataError(ValueError):
    """A data file does not hold what it should; the message says which, what was expected and what came."""


@dataclass(frozen=True)
class Digits:
    """A training and a test set: images (N, 1, H, W) float32 in [0, 1] and labels (N,) int64 in 0..9."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.train_images.shape[-2:]
        return int(height), int(width)

    @property
    def checksum(self) -> int:
        """CRC-32 of the training set: tells whether a run goes on with the data it began with."""
        crc = zlib.crc32(self.train_images.contiguous().numpy().data)
        return zlib.crc32(self.train_labels.contiguous().numpy().data, crc)


def load_digits() -> Digits:
    """Scikit-learn's bundled digits: 1797 scans of 8 x 8 pixels, from UCI's optical digits (NIST forms).

    The split is fixed and stratified: of each class, in the order of the file, every fifth image is for
    testing (1442 to train, 355 to test). Values 0..16 are scaled to [0, 1]. Nothing is downloaded.

    Raises:
        MissingPackage: scikit-learn is not installed.
    """
    datasets = optional_import("sklearn.datasets", "the bundled digits")
    bunch = datasets.load_digits()
    images = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32) / 16.0).unsqueeze(1)
    labels = torch.from_numpy(np.asarray(bunch.target, dtype=np.int64))
    test = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(10):
        test[(labels == digit).nonzero()[4::5]] = True
    return Digits("digits", images[~test], labels[~test], images[test], labels[test])


def load_mnist(folder: str | Path) -> Digits:
    """MNIST, or any data set in its format, from a folder of four IDX files.

    The files are {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, also spelled with a dot
    (train-images.idx3-ubyte), with or without .gz; whether one is compressed is read from its content.
    Values 0..255 are scaled to [0, 1].

    Raises:
        FileNotFoundError, NotADirectoryError: the folder, or a file in it, is missing.
        DataError: a file is corrupt, truncated, of another kind, or does not fit the others.
    """
    root = Path(folder)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder; expected one with the four MNIST IDX files")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder with the four MNIST IDX files, got a file")
    parts = {part: _load_part(root, prefix) for part, prefix in _MNIST_PARTS.items()}
    (train_images, train_labels), (test_images, test_labels) = parts["train"], parts["test"]
    if train_images.shape[-2:] != test_images.shape[-2:]:
        raise DataError(
            f"{root}: expected images of one size, got {_size(train_images)} to train "
            f"and {_size(test_images)} to test"
        )
    return Digits("mnist", train_images, train_labels, test_images, test_labels)


def _load_part(root: Path, prefix: str) -> tuple[Tensor, Tensor]:
    images_path = _find(root, f"{prefix}-images", "idx3-ubyte")
    labels_path = _find(root, f"{prefix}-labels", "idx1-ubyte")
    images = _read_idx(images_path, _IMAGES, "images")
    labels = _read_idx(labels_path, _LABELS, "labels")
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, as there are images in {images_path.name}, "
            f"got {len(labels)}"
        )
    if images.size == 0:
        raise DataError(
            f"{images_path}: expected at least one image of at least one pixel, got shape {images.shape}"
        )
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise DataError(f"{labels_path}: expected labels 0 to 9, got {labels[first]} at index {first}")
    pixels = torch.from_numpy(images.astype(np.float32)).div_(255.0).unsqueeze_(1)
    return pixels, torch.from_numpy(labels.astype(np.int64))


def _find(root: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{separator}{kind}{suffix}" for suffix in ("", ".gz") for separator in ("-", ".")]
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"{root}: expected a file {names[0]} (or {', '.join(names[1:])}), found none")


def _read_idx(path: Path, magic: int, what: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The array in an IDX file: big-endian magic number, one uint32 per dimension, then the bytes."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{path}: expected gzip data, got a corrupt or truncated file ({error})"
            ) from None
    ndim = magic & 0xFF
    header = 4 * (1 + ndim)
    if len(content) < header:
        raise DataError(f"{path}: expected an IDX header of {header} bytes, got {len(content)} bytes in all")
    found, *shape = struct.unpack_from(f">{1 + ndim}I", content)
    if found != magic:
        raise DataError(f"{path}: expected IDX magic number {magic:#010x} ({what}), got {found:#010x}")
    size = math.prod(shape)
    got = len(content) - header
    if got != size:
        trouble = "the file is truncated" if got < size else "there is data after the end"
        raise DataError(
            f"{path}: expected {size} bytes after the header, for {what} of shape {tuple(shape)}, "
            f"got {got}: {trouble}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _size(images: Tensor) -> str:
    return f"{images.shape[-2]} x {images.shape[-1]}"
