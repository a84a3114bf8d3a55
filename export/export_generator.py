"""Checkpoint to TF-Hub module.

    python export/export_generator.py --model_dir=run --output_dir=module

Exports the latest checkpoint of a run, or that of `--step`: G (its moving average
where one was kept) and D as one TensorFlow 2 SavedModel; export/README.md has the
signatures.
"""

from absl import app, flags

from ssgan_tf import cli

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_STEP = flags.DEFINE_integer("step", None, "Step of the checkpoint; default: latest.")
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the module. Default: <model_dir>/tfhub/<step>."
)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument: {argv[1]}")
    # TensorFlow takes seconds to import: only now.
    from ssgan_tf import experiment, exporting

    plan, run = experiment.load_run(_MODEL_DIR.value)
    step = run.latest_step() if _STEP.value is None else _STEP.value
    path = experiment.export_checkpoint(plan, run, step, _OUTPUT_DIR.value)
    module = exporting.load(path)
    print(f"module {module.path}: step {step}, {module.metadata['weights']} weights")


if __name__ == "__main__":
    cli.run(main)
