"""TF-Hub module to picture.

    python export/load_generator.py --module=run/tfhub/1600 --num=64 --out=samples.png

Of a conditional GAN `--labels` chooses the classes: `--labels=3` for all images,
`--labels=0,1,2` one for each of three. Without it they are drawn by the seed.
"""

import math

from absl import app, flags

from ssgan_tf import cli, module_flags

# Shown by --help.
flags.adopt_module_key_flags(module_flags)
flags.mark_flag_as_required("module")
_NUM = flags.DEFINE_integer("num", 64, "Number of images.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Equal seeds give equal images.")
_LABELS = flags.DEFINE_list(
    "labels", None, "Classes: one for each image, or one for all. Default: drawn."
)
_OUT = flags.DEFINE_string("out", "samples.png", "The picture, a PNG file.")


def _labels() -> int | list[int] | None:
    """The labels as `LoadedModule.sample` takes them."""
    if _LABELS.value is None:
        return None
    try:
        labels = [int(label) for label in _LABELS.value]
    except ValueError:
        received = ",".join(_LABELS.value)
        raise app.UsageError(
            "--labels must be one integer, or integers with commas between. Received: "
            f"--labels={received}"
        ) from None
    return labels[0] if len(labels) == 1 else labels


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument: {argv[1]}")
    if not _OUT.value.endswith(".png"):
        raise app.UsageError(f"--out must end in .png. Received: --out={_OUT.value}")
    labels = _labels()
    # TensorFlow takes seconds to import: only now.
    from ssgan_tf import images

    module = module_flags.load()
    samples = module.sample(_NUM.value, _SEED.value, labels)
    images.write_png(
        _OUT.value, images.grid(samples, columns=math.ceil(math.sqrt(_NUM.value)))
    )
    print(f"{_NUM.value} images of {module.path}, seed {_SEED.value}: {_OUT.value}")


if __name__ == "__main__":
    cli.run(main)
