"""Writes a checkpoint as a TF-Hub module: `ssgan export` as a script.

    python export/export_generator.py --model_dir=run --output_dir=module

The flags are those of the command.
"""

from ssgan_tf.commands import export
from ssgan_tf.commands.main import run

if __name__ == "__main__":
    run(export.main)
