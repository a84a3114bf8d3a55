"""The table of data sets. Adding a data set is adding one row."""

import dataclasses
import difflib
import os

from ssgan_tf.datasets import crops, folders


@dataclasses.dataclass(frozen=True)
class ByHand:
    """Files that nobody may hand on: whoever wants them asks for them.

    Attributes:
        files: their names, as TFDS looks for them.
        giver: str. Where they are to be had.
    """

    files: tuple[str, ...]
    giver: str


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """What the project has to know about a data set before reading it.

    Attributes:
        tfds_name: str. Name of the TFDS builder.
        tfds_version: str. The builder's version; another one is another data set.
        image_shape: `(height, width, channels)`. Height and width are equal, since
            a quarter turn has to map the image onto its own grid.
        num_classes: int. Labels are 0 to `num_classes - 1`; 0 for a set without labels.
        train_split: str. TFDS split that is trained on.
        eval_split: str. TFDS split that scores compare with.
        train_count: int. Images of the training split; None where it is not known.
        eval_count: the same of the other one.
        crop: rule of `crops` by which the images become squares of `image_shape`; None
            where TFDS has them so.
        by_hand: what TFDS cannot fetch by itself; None where it can.
        folder: str. The folder of images that it is; None for a row of the table.

    Raises:
        ValueError: if the images are not square.
    """

    tfds_name: str
    tfds_version: str
    image_shape: tuple[int, int, int]
    num_classes: int
    train_split: str = "train"
    eval_split: str = "test"
    train_count: int | None = None
    eval_count: int | None = None
    crop: crops.Crop | None = None
    by_hand: ByHand | None = None
    folder: str | None = None

    def __post_init__(self):
        height, width, _ = self.image_shape
        if height != width:
            raise ValueError(
                "`image_shape` must be square, because images are rotated by quarter "
                f"turns. Received: image_shape={self.image_shape} for "
                f"tfds_name='{self.tfds_name}'. Crop the images to a square first."
            )


def _colours(size: int) -> tuple[int, int, int]:
    return (size, size, 3)


def _mnist(name: str) -> DatasetSpec:
    counts = dict(train_count=60_000, eval_count=10_000)
    return DatasetSpec(name, "3.0.1", (28, 28, 1), num_classes=10, **counts)


def _cifar(name: str, num_classes: int) -> DatasetSpec:
    counts = dict(train_count=50_000, eval_count=10_000)
    return DatasetSpec(name, "3.0.2", _colours(32), num_classes, **counts)


def _celeb_a(size: int) -> DatasetSpec:
    return DatasetSpec(
        "celeb_a",
        "2.1.0",
        _colours(size),
        num_classes=0,
        train_count=162_770,
        eval_count=19_962,
        crop=crops.celeb_a,
    )


_IMAGENET = dict(
    num_classes=1000,
    eval_split="validation",
    train_count=1_281_167,
    eval_count=50_000,
)


def _imagenet(size: int) -> DatasetSpec:
    return DatasetSpec(
        "imagenet2012",
        "5.1.0",
        _colours(size),
        crop=crops.random_square,
        by_hand=ByHand(
            ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
            "https://image-net.org/download-images, after registration",
        ),
        **_IMAGENET,
    )


def _imagenet_resized(size: int) -> DatasetSpec:
    # Labels are numbered otherwise than in `imagenet2012`.
    return DatasetSpec(
        f"imagenet_resized/{size}x{size}", "0.1.0", _colours(size), **_IMAGENET
    )


DATASETS: dict[str, DatasetSpec] = {
    "digits32": DatasetSpec(
        "digits32",
        "1.0.0",
        (32, 32, 1),
        num_classes=10,
        train_count=1400,
        eval_count=397,
    ),
    "mnist": _mnist("mnist"),
    "fashion_mnist": _mnist("fashion_mnist"),
    "cifar10": _cifar("cifar10", 10),
    "cifar100": _cifar("cifar100", 100),
    # The unlabelled images, at half their size, as SN-GAN has them.
    "stl10": DatasetSpec(
        "stl10",
        "1.0.0",
        _colours(48),
        num_classes=0,
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
        _colours(128),
        num_classes=0,
        train_split="train[3000:]",
        eval_split="train[:3000]",
        train_count=27_000,
        eval_count=3000,
        by_hand=ByHand(
            ("data128x128.tar",),
            "https://github.com/tkarras/progressive_growing_of_gans"
            "#preparing-datasets-for-training, which says how to make it",
        ),
    ),
    # The last 1 % is held out, as in compare_gan.
    "lsun_bedroom": DatasetSpec(
        "lsun/bedroom",
        "3.1.0",
        _colours(128),
        num_classes=0,
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
    """The row of `DATASETS` called `name`, or that of a folder of images.

    Args:
        name: str. A key of `DATASETS`, or what `folders.dataset_name` returns.

    Raises:
        ValueError: if there is none; the message lists the legal names. Or the folder
            cannot be a data set.
        FileNotFoundError: there is no such folder.
    """
    if folders.is_folder(name):
        path, image_shape = folders.parse(name)
        classes = folders.classes(path)
        return DatasetSpec(
            folders.TFDS_NAME,
            folders.VERSION,
            image_shape,
            num_classes=len(classes),
            folder=path,
        )
    if name not in DATASETS:
        close = difflib.get_close_matches(str(name), DATASETS)
        if os.path.isdir(str(name)):
            close = [f"{folders.PREFIX}{name}"]
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ValueError(
            f"`name` must be the name of a known data set. Received: name={name!r}. "
            f"{hint}Legal names: {', '.join(sorted(DATASETS))}, and "
            f"{folders.PREFIX}DIR for a folder of images."
        )
    return DATASETS[name]
