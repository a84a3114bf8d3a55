"""TF-Hub module to picture: `ssgan sample` as a script.

    python export/load_generator.py --module=run/tfhub/1600 --num=64 --out=samples.png

The flags are those of that command, and so are the pictures.
"""

from absl import flags

from ssgan_tf.commands import sample
from ssgan_tf.commands.main import run

# Shown by --help.
flags.adopt_module_key_flags(sample)

if __name__ == "__main__":
    run(sample.main)
