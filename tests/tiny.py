"""A run of seconds: the quick start at a tiny width."""

from ssgan_tf import config, datasets

CONFIG = "quickstart.gin"
BINDINGS = (
    "options.batch_size = 8",
    "options.training_steps = 4",
    "options.z_dim = 8",
    "SSGAN.rotated_batch_size = 16",
    "G.width = 4",
    "D.width = 4",
    "ModularGAN.ema_decay = 0.5",
    # So that a shorter or a continued run is the same run.
    "ModularGAN.lr_schedule = 'constant'",
    "standardize_batch.decay = 0.5",
    "weights.stddev = 0.2",
    "run_config.iterations_per_loop = 1",
    "run_config.save_checkpoints_steps = 2",
    "run_config.save_summary_steps = 1",
)


def plan(*bindings: str) -> config.Plan:
    """The plan under further bindings, which override these."""
    config.parse([CONFIG], [*BINDINGS, *bindings])
    return config.plan()


def flags(*bindings: str) -> list[str]:
    """The same as flags of `ssgan train`."""
    return [
        f"--gin_config={CONFIG}",
        *(f"--gin_bindings={line}" for line in (*BINDINGS, *bindings)),
    ]


def prepare(data_dir=None) -> None:
    """Prepares the data set, for tests of other failures."""
    datasets.load_split("digits32", "train", data_dir)
