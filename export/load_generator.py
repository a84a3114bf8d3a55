"""Draws images from a TF-Hub module: `ssgan sample` as a script.

    python export/load_generator.py --module=run/tfhub/1600 --num=64 --out=samples.png

The flags are those of the command.
"""

from ssgan_tf.commands import sample
from ssgan_tf.commands.main import run

if __name__ == "__main__":
    run(sample.main)
