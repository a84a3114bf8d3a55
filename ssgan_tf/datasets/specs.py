"""The table of data sets. Adding a data set is adding one row."""

import dataclasses
import difflib


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
        needs_resizing: bool. Whether TFDS has the images in other sizes than
            `image_shape`; such a set can be named, not read yet.

    Raises:
        ValueError: if the images are not square.
    """

    tfds_name: str
    tfds_version: str
    image_shape: tuple[int, int, int]
    num_classes: int
    train_split: str = "train"
    eval_split: str = "test"
    needs_resizing: bool = False

    def __post_init__(self):
        height, width, _ = self.image_shape
        if height != width:
            raise ValueError(
                "`image_shape` must be square, because images are rotated by quarter "
                f"turns. Received: image_shape={self.image_shape} for "
                f"tfds_name='{self.tfds_name}'. Crop the images to a square first."
            )


DATASETS: dict[str, DatasetSpec] = {
    "digits32": DatasetSpec("digits32", "1.0.0", (32, 32, 1), num_classes=10),
    "cifar10": DatasetSpec("cifar10", "3.0.2", (32, 32, 3), num_classes=10),
    "imagenet128": DatasetSpec(
        "imagenet2012",
        "5.1.0",
        (128, 128, 3),
        num_classes=1000,
        eval_split="validation",
        needs_resizing=True,
    ),
    # The last 1 % is held out, as in compare_gan.
    "lsun_bedroom": DatasetSpec(
        "lsun/bedroom",
        "3.1.0",
        (128, 128, 3),
        num_classes=0,
        train_split="train[:99%]",
        eval_split="train[99%:]",
        needs_resizing=True,
    ),
    "celeb_a_hq": DatasetSpec(
        "celeb_a_hq/128",
        "2.0.0",
        (128, 128, 3),
        num_classes=0,
        train_split="train[3000:]",
        eval_split="train[:3000]",
    ),
}


def get_spec(name: str) -> DatasetSpec:
    """The row of `DATASETS` called `name`.

    Raises:
        ValueError: if there is none; the message lists the legal names.
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(str(name), DATASETS)
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ValueError(
            f"`name` must be the name of a known data set. Received: name={name!r}. "
            f"{hint}Legal names: {', '.join(sorted(DATASETS))}."
        )
    return DATASETS[name]
