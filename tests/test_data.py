"""The two data sets, and one clear message for each way in which an IDX folder can be wrong."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from idx_files import IMAGES, LABELS, idx, stripes, write_mnist
from qcore._optional import MissingPackage, optional_import
from qcore.data import DataError, load_digits, load_mnist


def test_bundled_digits_are_scaled_and_split_evenly_by_class() -> None:
    data = load_digits()
    assert data.train_images.shape == (1442, 1, 8, 8)
    assert data.test_images.shape == (355, 1, 8, 8)
    assert data.image_size == (8, 8)
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert images.min() == 0.0
        assert images.max() == 1.0
    share = data.test_labels.bincount(minlength=10) / (
        data.train_labels.bincount(minlength=10) + data.test_labels.bincount(minlength=10)
    )
    assert torch.all((share - 0.2).abs() < 0.005)


def test_bundled_split_is_fixed_and_leaves_nothing_out() -> None:
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    bunch = sklearn_datasets.load_digits()
    data = load_digits()
    assert data.checksum == load_digits().checksum
    ours = torch.cat([data.train_images, data.test_images]).flatten(1).double().mul(16)
    everything = torch.from_numpy(bunch.data)
    assert torch.equal(ours.sum(0), everything.sum(0))
    # Of each class, in the order of the file, every fifth image is for testing.
    sevens = bunch.images[bunch.target == 7]
    got = data.test_images[data.test_labels == 7][:, 0] * 16
    np.testing.assert_array_equal(got.numpy(), sevens[4::5])


def test_missing_scikit_learn_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        MissingPackage, match=r'needs scikit-learn, which is not installed: pip install "qcore'
    ):
        load_digits()


def test_an_import_error_inside_a_package_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there") as caught:
        optional_import("half_installed", "a test")
    assert not isinstance(caught.value, MissingPackage)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_files_gzipped_or_not_in_both_spellings(tmp_path: Path, compress: bool, dotted: bool) -> None:
    folder = write_mnist(tmp_path / "mnist", train=30, test=12, size=5, compress=compress)
    if dotted:
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.replace("-idx", ".idx"))
    data = load_mnist(folder)
    images, labels = stripes(30, 5, seed=1)
    assert data.train_images.shape == (30, 1, 5, 5)
    assert data.test_images.shape == (12, 1, 5, 5)
    torch.testing.assert_close(data.train_images[:, 0], torch.from_numpy(images / 255.0).float())
    assert data.train_labels.tolist() == labels.tolist()
    assert data.train_images.dtype == torch.float32
    assert data.train_labels.dtype == torch.int64


def test_compression_is_read_from_the_content_not_the_name(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    reference = load_mnist(folder)
    for path in list(folder.iterdir()):
        path.rename(folder / f"{path.name}.gz")
    assert torch.equal(load_mnist(folder).train_images, reference.train_images)


def test_oblong_images(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist")
    for part, count in (("train", 40), ("t10k", 20)):
        content = idx(np.zeros((count, 3, 7)), IMAGES)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(content)
    assert load_mnist(folder).image_size == (3, 7)


def test_checksum_tells_data_sets_apart(tmp_path: Path) -> None:
    one = load_mnist(write_mnist(tmp_path / "one"))
    other = write_mnist(tmp_path / "other")
    labels = stripes(40)[1]
    labels[3] = 9
    (other / "train-labels-idx1-ubyte").write_bytes(idx(labels, LABELS))
    assert one.checksum == load_mnist(write_mnist(tmp_path / "again")).checksum
    assert one.checksum != load_mnist(other).checksum


def _cut(content: bytes) -> bytes:
    return content[:-7]


Damage = Callable[[bytes], bytes]
BROKEN: dict[str, tuple[str, Damage, str]] = {
    "truncated images": (
        "train-images-idx3-ubyte",
        _cut,
        r"expected 1440 bytes after the header, for images of shape \(40, 6, 6\), got 1433: the file is",
    ),
    "truncated labels": (
        "t10k-labels-idx1-ubyte",
        _cut,
        r"expected 20 bytes after the header, for labels of shape \(20,\), got 13: the file is truncated",
    ),
    "trailing data": (
        "train-images-idx3-ubyte",
        lambda content: content + b"xyz",
        r"expected 1440 bytes .* got 1443: there is data after the end",
    ),
    "labels in the place of images": (
        "train-images-idx3-ubyte",
        lambda content: idx(np.zeros(40), LABELS) + bytes(8),
        r"expected IDX magic number 0x00000803 \(images\), got 0x00000801",
    ),
    "images in the place of labels": (
        "t10k-labels-idx1-ubyte",
        lambda content: idx(np.zeros((20, 6, 6)), IMAGES),
        r"expected IDX magic number 0x00000801 \(labels\), got 0x00000803",
    ),
    "a web page": (
        "train-images-idx3-ubyte",
        lambda content: b"<!DOCTYPE html><html>not found</html>",
        r"expected IDX magic number 0x00000803 \(images\), got 0x3c21444f",
    ),
    "empty": (
        "train-images-idx3-ubyte",
        lambda content: b"",
        r"expected an IDX header of 16 bytes, got 0 bytes",
    ),
    "half a header": (
        "t10k-labels-idx1-ubyte",
        lambda content: content[:5],
        r"header of 8 bytes, got 5 bytes",
    ),
    "corrupt gzip": (
        "train-images-idx3-ubyte",
        lambda content: gzip.compress(content)[:20] + b"\xff" * 60,
        r"expected gzip data, got a corrupt or truncated file",
    ),
    "truncated gzip": (
        "train-images-idx3-ubyte",
        lambda content: gzip.compress(content)[:-30],
        r"expected gzip data, got a corrupt or truncated file",
    ),
    "gzip of other content": (
        "train-images-idx3-ubyte",
        lambda content: gzip.compress(b"something else altogether"),
        r"expected IDX magic number",
    ),
    "fewer labels than images": (
        "train-labels-idx1-ubyte",
        lambda content: idx(np.zeros(39), LABELS),
        r"expected 40 labels, as there are images in train-images-idx3-ubyte, got 39",
    ),
    "a label past nine": (
        "train-labels-idx1-ubyte",
        lambda content: content[:-3] + bytes([11, 0, 0]),
        r"expected labels 0 to 9, got 11 at index 37",
    ),
    "images of another size to test": (
        "t10k-images-idx3-ubyte",
        lambda content: idx(np.zeros((20, 5, 6)), IMAGES),
        r"expected images of one size, got 6 x 6 to train and 5 x 6 to test",
    ),
    "images without pixels": (
        "train-images-idx3-ubyte",
        lambda content: idx(np.zeros((40, 0, 6)), IMAGES),
        r"expected at least one image of at least one pixel, got shape \(40, 0, 6\)",
    ),
    "a size that would not fit in memory": (
        "train-images-idx3-ubyte",
        lambda content: content[:4] + b"\xff" * 12 + content[16:],
        r"expected 79228162458924105385300197375 bytes .* truncated",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_file(tmp_path: Path, what: str) -> None:
    name, damage, message = BROKEN[what]
    folder = write_mnist(tmp_path / "mnist")
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load_mnist(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_images_at_all(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "mnist", train=0)
    with pytest.raises(DataError, match="at least one image"):
        load_mnist(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; expected one with the four MNIST"):
        load_mnist(tmp_path / "nowhere")


def test_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        NotADirectoryError, match="expected a folder with the four MNIST IDX files, got a file"
    ):
        load_mnist(str(tmp_path / "file"))


@pytest.mark.parametrize(
    "part", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
)
def test_missing_file(tmp_path: Path, part: str) -> None:
    folder = write_mnist(tmp_path / "mnist")
    (folder / f"{part}-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=rf"expected a file {part}-ubyte \(or .*\.gz\), found none"):
        load_mnist(folder)
