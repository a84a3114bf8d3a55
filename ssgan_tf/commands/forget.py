r"""Trains a classifier whose task changes: does it forget what it learned?

    ssgan forget --gin_config=forgetting_cifar10.gin --model_dir=run
    ssgan forget --gin_config=forgetting_cifar10.gin --model_dir=plain \
        --gin_bindings="forgetting.weight_rotation_loss = 0"

Figure 3 of the paper; docs/forgetting.md has the recipe. Writes forgetting.csv into the
run directory; `ssgan reproduce figure3` trains both and draws them.
"""

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import startup

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run directory.", required=True)
_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config",
    ["forgetting_cifar10.gin"],
    "Path of a gin file, or name of a shipped one; later lines win",
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A gin binding, such as D.width=32, which wins over the files"
)
_TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Folder of prepared TFDS data sets."
)
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
    "allow_config_change",
    False,
    "Continue a run that was started with another configuration.",
)


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


if __name__ == "__main__":
    run(main)
