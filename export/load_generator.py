"""TF-Hub module to picture.

python export/load_generator.py --module=run/tfhub/1600 --num=64 --out=samples.png
"""

import math

from absl import app, flags

from ssgan_tf import cli

_MODULE = flags.DEFINE_string("module", None, "Folder of the module.", required=True)
_NUM = flags.DEFINE_integer("num", 64, "Number of images.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Equal seeds give equal images.")
_OUT = flags.DEFINE_string("out", "samples.png", "The picture, a PNG file.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument: {argv[1]}")
    if not _OUT.value.endswith(".png"):
        raise app.UsageError(f"--out must end in .png. Received: --out={_OUT.value}")
    # TensorFlow takes seconds to import: only now.
    from ssgan_tf import exporting, images

    samples = exporting.load(_MODULE.value).sample(_NUM.value, _SEED.value)
    images.write_png(
        _OUT.value, images.grid(samples, columns=math.ceil(math.sqrt(_NUM.value)))
    )
    print(f"{_NUM.value} images of {_MODULE.value}, seed {_SEED.value}: {_OUT.value}")


if __name__ == "__main__":
    cli.run(main)
