"""Writes a checkpoint as a TF-Hub module: `ssgan export` as a script.

python export/export_generator.py --model_dir=run --output_dir=module
"""

from ssgan_tf.commands import export
from ssgan_tf.commands.main import run

if __name__ == "__main__":
    run(export.main)
