"""The table of data sets. A new data set is a new row."""

import dataclasses
import difflib
import os

from ssgan_tf.datasets import crops, folders


@dataclasses.dataclass(frozen=True)
class ByHand:
    """Files that the user must download by hand, because of their licence.

    Attributes:
        files: names of the files that TFDS expects.
        source: str. Where to get them.
    """

    files: tuple[str, ...]
    source: str


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A row of the table: one data set.

    Attributes:
        tfds_name: str. Name of the TFDS builder.
        tfds_version: str. Version of the builder; another version is another data set.
        image_shape: `(height, width, channels)`. Height and width are equal, because a
            quarter turn has to map the image onto its own grid.
        num_classes: int. Labels are 0 to `num_classes - 1`; 0 for no labels.
        train_split: str. TFDS split for training.
        eval_split: str. TFDS split that scores compare with.
        train_count: int. Images of the training split; None if unknown.
        eval_count: int. Images of the evaluation split; None if unknown.
        crop: rule of `crops` that makes the images squares of `image_shape`; None if
            TFDS has them in this shape.
        by_hand: files that the user must download; None if TFDS downloads everything.
        folder: str. Path of a folder of images; None for a data set of TFDS.

    Raises:
        ValueError: the images are not square.
    """

    tfds_name: str
    tfds_version: str
    image_shape: tuple[int, int, int]
    num_classes: int = 0
    train_split: str = "train"
    eval_split: str = "test"
    train_count: int | None = None
    eval_count: int | None = None
    crop: crops.Crop | None = None
    by_hand: ByHand | None = None
    folder: str | None = None

    def __post_init__(self):
        if self.image_shape[0] != self.image_shape[1]:
            raise ValueError(
                "`image_shape` must be square, because images are rotated by quarter "
                f"turns. Received: image_shape={self.image_shape} for tfds_name="
                f"{self.tfds_name!r}. Crop the images to a square first."
            )

    def stored_split(self, split: str) -> str:
        """TFDS's name of the split "train" or "test" of the prepared data set."""
        if self.crop or self.folder:
            return split
        return self.train_split if split == "train" else self.eval_split


def _square(size: int) -> tuple[int, int, int]:
    return (size, size, 3)


def _mnist(name: str) -> DatasetSpec:
    counts = dict(train_count=60_000, eval_count=10_000)
    return DatasetSpec(name, "3.0.1", (28, 28, 1), num_classes=10, **counts)


def _cifar(name: str, num_classes: int) -> DatasetSpec:
    counts = dict(train_count=50_000, eval_count=10_000)
    return DatasetSpec(name, "3.0.2", _square(32), num_classes, **counts)


def _celeb_a(size: int) -> DatasetSpec:
    counts = dict(train_count=162_770, eval_count=19_962)
    return DatasetSpec("celeb_a", "2.1.0", _square(size), crop=crops.celeb_a, **counts)


_IMAGENET = dict(
    num_classes=1000, eval_split="validation", train_count=1_281_167, eval_count=50_000
)
_IMAGENET_FILES = ByHand(
    ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
    "https://image-net.org/download-images, after registration",
)


def _imagenet(size: int) -> DatasetSpec:
    return DatasetSpec(
        "imagenet2012",
        "5.1.0",
        _square(size),
        crop=crops.random_square,
        by_hand=_IMAGENET_FILES,
        **_IMAGENET,
    )


def _imagenet_resized(size: int) -> DatasetSpec:
    # Its labels have other numbers than those of `imagenet2012`.
    name = f"imagenet_resized/{size}x{size}"
    return DatasetSpec(name, "0.1.0", _square(size), **_IMAGENET)


DATASETS: dict[str, DatasetSpec] = {
    "digits32": DatasetSpec(
        "digits32", "1.0.0", (32, 32, 1), 10, train_count=1400, eval_count=397
    ),
    "mnist": _mnist("mnist"),
    "fashion_mnist": _mnist("fashion_mnist"),
    "cifar10": _cifar("cifar10", 10),
    "cifar100": _cifar("cifar100", 100),
    # The unlabelled images at half their size, as in SN-GAN.
    "stl10": DatasetSpec(
        "stl10",
        "1.0.0",
        _square(48),
        train_split="unlabelled",
        train_count=100_000,
        eval_count=8000,
        crop=crops.halve,
    ),
    "celeb_a64": _celeb_a(64),
    "celeb_a128": _celeb_a(128),
    "celeb_a_hq": DatasetSpec(
        "celeb_a_hq/128",
        "2.0.0",
        _square(128),
        train_split="train[3000:]",
        eval_split="train[:3000]",
        train_count=27_000,
        eval_count=3000,
        by_hand=ByHand(
            ("data128x128.tar",),
            "https://github.com/tkarras/progressive_growing_of_gans"
            "#preparing-datasets-for-training, which explains how to make it",
        ),
    ),
    # The last 1 % is held out, as in compare_gan.
    "lsun_bedroom": DatasetSpec(
        "lsun/bedroom",
        "3.1.0",
        _square(128),
        train_split="train[:99%]",
        eval_split="train[99%:]",
        train_count=3_002_712,
        eval_count=30_330,
        crop=crops.crop_or_pad,
    ),
    "imagenet64": _imagenet(64),
    "imagenet128": _imagenet(128),
    "imagenet256": _imagenet(256),
    "imagenet_resized32": _imagenet_resized(32),
    "imagenet_resized64": _imagenet_resized(64),
}


def get_spec(name: str) -> DatasetSpec:
    """Looks up a data set.

    Args:
        name: str. A key of `DATASETS`, or a folder's name by `folders.dataset_name`.

    Raises:
        ValueError: the name is unknown, or the folder cannot be a data set.
        FileNotFoundError: the folder does not exist.
    """
    if folders.is_folder(name):
        path, image_shape = folders.parse(name)
        num_classes = len(folders.classes(path))
        return DatasetSpec(
            folders.TFDS_NAME, folders.VERSION, image_shape, num_classes, folder=path
        )
    if name not in DATASETS:
        close = difflib.get_close_matches(str(name), DATASETS)
        if os.path.isdir(str(name)):
            close = [f"{folders.PREFIX}{name}"]
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ValueError(
            f"`name` must be the name of a data set. Received: name={name!r}. "
            f"{hint}Legal names: {', '.join(sorted(DATASETS))}, and "
            f"{folders.PREFIX}DIR for a folder of images."
        )
    return DATASETS[name]
