"""Converts a checkpoint or module of compare_gan: `ssgan convert` as a script.

    python export/convert_compare_gan.py --module=model.ckpt-100000 --output_dir=module

The flags are those of the command.
"""

from ssgan_tf.commands import convert
from ssgan_tf.commands.main import run

if __name__ == "__main__":
    run(convert.main)
