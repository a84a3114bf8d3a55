r"""Trains a GAN, exports it, and scores what was exported.

    ssgan train --gin_config=quickstart.gin --model_dir=run
    ssgan train --gin_config=quickstart.gin --model_dir=run --schedule=eval_after_train
    ssgan train --gin_config=ssgan_cifar10.gin --image_folder=photos --model_dir=mine \
        --gin_bindings="options.batch_size = 32" --dry_run

Everything that moves a number is in the gin file; these flags say where and when. The
same command again goes on where a run was stopped. docs/getting_started.md goes through
a run step by step.
"""

from absl import app, flags

from ssgan_tf.commands import score_flags, strategy_flags
from ssgan_tf.commands.main import run
from ssgan_tf.utils import startup

for _module in (score_flags, strategy_flags):
    # Shown by --help.
    flags.adopt_module_key_flags(_module)
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "train",
    ["train", "eval_after_train", "continuous_eval"],
    "train: train and export. eval_after_train: then score the checkpoints. "
    "continuous_eval: score the checkpoints of a training in another process.",
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Run directory: new, or that of a run to go on with."
)
_GIN_CONFIG = flags.DEFINE_multi_string(
    "gin_config", [], "Path of a gin file, or name of a shipped one; later lines win"
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings",
    [],
    "A gin binding, such as options.batch_size=32, which wins over the files",
)
_WARM_START = flags.DEFINE_string(
    "warm_start",
    None,
    "Module whose weights both networks start from: folder, archive, address on "
    "TF-Hub. Short for --gin_bindings=\"run_config.warm_start = 'MODULE'\".",
)
_IMAGE_FOLDER = flags.DEFINE_string(
    "image_folder",
    None,
    "Folder of images to train on instead of the config's data set, at its size and "
    "colours unless dataset.resolution and dataset.colors are bound. See docs/data.md.",
)
_NUM_EVAL_AVERAGING_RUNS = flags.DEFINE_integer(
    "num_eval_averaging_runs", 3, "Sets of fakes per checkpoint.", lower_bound=1
)
_JIT_COMPILE = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "Whether XLA compiles the train step. auto: on one GPU; not on CPUs, whose "
    "own convolutions are faster, nor on several replicas or for accumulated batches.",
)
_SCORE_FILENAME = flags.DEFINE_string(
    "score_filename", "scores.csv", "Table of scores in the run directory."
)
_EVAL_EVERY_STEPS = flags.DEFINE_integer(
    "eval_every_steps",
    5000,
    "Score checkpoints whose step this divides, and the last; 0 scores all.",
    lower_bound=0,
)
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
    "allow_config_change",
    False,
    "Continue a run that was started with another configuration.",
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Build everything, print sizes and the plan, take two steps on fake data, "
    "write nothing.",
)


def main(argv):
    if not _GIN_CONFIG.value:
        raise app.UsageError(
            "--gin_config must name at least one file, for example quickstart.gin."
        )
    if not (_MODEL_DIR.value or _DRY_RUN.value):
        raise app.UsageError("--model_dir must name the run directory.")
    if _SCHEDULE.value == "train" and (given := score_flags.given()):
        raise app.UsageError(
            f"--{given[0]} scores, and --schedule=train does not. Add "
            "--schedule=eval_after_train."
        )
    start_up = startup.StartUp()
    startup.import_tensorflow()
    from ssgan_tf import config
    from ssgan_tf.training import dry_run, run_dir, schedule, summary

    start_up.done("imports")
    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    plan = config.plan(_WARM_START.value, _IMAGE_FOLDER.value)
    if _DRY_RUN.value:
        strategy = strategy_flags.get_strategy()
        print(dry_run.dry_run(plan, strategy, _JIT_COMPILE.value))
        return
    run = run_dir.RunDir(_MODEL_DIR.value)
    is_chief = schedule.train_and_evaluate(
        plan,
        run,
        start_up=start_up,
        schedule=_SCHEDULE.value,
        get_strategy=strategy_flags.get_strategy,
        jit_compile=_JIT_COMPILE.value,
        options=score_flags.scoring(_NUM_EVAL_AVERAGING_RUNS.value),
        data_dir=score_flags.data_dir(),
        eval_every_steps=_EVAL_EVERY_STEPS.value,
        score_filename=_SCORE_FILENAME.value,
        allow_config_change=_ALLOW_CONFIG_CHANGE.value,
    )
    if is_chief and _SCHEDULE.value != "train":
        print(summary.summary(run, _SCORE_FILENAME.value))


if __name__ == "__main__":
    run(main)
