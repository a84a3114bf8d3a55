r"""Trains a classifier on a sequence of tasks: does it forget the earlier ones?

    ssgan forget --gin_config=forgetting_cifar10.gin --model_dir=run
    ssgan forget --gin_config=forgetting_cifar10.gin --model_dir=plain \
        --gin_bindings="forgetting.weight_rotation_loss = 0"

This is Figure 3 of the paper; docs/forgetting.md has the recipe. Writes forgetting.csv
into the run directory. `ssgan reproduce figure3` trains both and plots them.
"""

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

_MODEL_DIR = shared.define_model_dir_flag()
_GIN_CONFIG, _GIN_BINDINGS = shared.define_gin_flags(
    default=("forgetting_cifar10.gin",)
)
_TFDS_DATA_DIR = shared.define_data_flag()
_ALLOW_CONFIG_CHANGE = shared.define_config_change_flag()


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf import config
    from ssgan_tf.experiments import forgetting
    from ssgan_tf.training import run_dir

    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    run = run_dir.RunDir(_MODEL_DIR.value)
    rows = forgetting.train(
        config.forgetting(),
        run,
        data_dir=_TFDS_DATA_DIR.value,
        allow_config_change=_ALLOW_CONFIG_CHANGE.value,
    )
    worst = min(rows, key=lambda row: row.accuracy)
    print(f"last accuracy {rows[-1].accuracy:.4f}, of class {rows[-1].task}")
    print(
        f"lowest accuracy {worst.accuracy:.4f}, of class {worst.task} at {worst.step}"
    )
    print(run.path / forgetting.FILENAME)
