r"""Trains a GAN, exports it as a module and scores the module.

    ssgan train --gin_config=quickstart.gin --model_dir=run
    ssgan train --gin_config=quickstart.gin --model_dir=run --schedule=eval_after_train
    ssgan train --gin_config=ssgan_cifar10.gin --image_folder=photos --model_dir=mine \
        --gin_bindings="options.batch_size = 32" --dry_run

The gin file determines all numbers; the flags choose places, devices and schedule. The
same command continues an interrupted run. docs/getting_started.md explains a run step
by step.
"""

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "train",
    ["train", "eval_after_train", "continuous_eval"],
    "train: train and export. eval_after_train: then score the checkpoints. "
    "continuous_eval: score the checkpoints that another process writes.",
)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Run directory. A run that is already in it continues."
)
_GIN_CONFIG, _GIN_BINDINGS = shared.define_gin_flags()
_WARM_START = flags.DEFINE_string(
    "warm_start",
    None,
    "Module whose weights initialize both networks: folder, archive or TF-Hub address.",
)
_IMAGE_FOLDER = flags.DEFINE_string(
    "image_folder",
    None,
    "Folder of images to train on instead of the config's data set, whose size and "
    "channels they get unless gin binds others. See docs/data.md.",
)
_NUM_EVAL_AVERAGING_RUNS = flags.DEFINE_integer(
    "num_eval_averaging_runs", 3, "Sets of fakes per checkpoint.", lower_bound=1
)
_JIT_COMPILE = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "Whether XLA compiles the train step. auto: on one GPU without accumulation.",
)
_SCORE_FILENAME = shared.define_score_filename_flag()
_EVAL_EVERY_STEPS = shared.define_eval_every_steps_flag(5000)
_ALLOW_CONFIG_CHANGE = shared.define_config_change_flag()
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Print sizes and the plan, take two steps and write nothing."
)
_SCORING = shared.define_scoring_flags()
_TFDS_DATA_DIR = shared.define_data_flag()
shared.define_strategy_flags()


def main(argv):
    if not _GIN_CONFIG.value:
        raise app.UsageError("--gin_config must name a file, such as quickstart.gin.")
    if not (_MODEL_DIR.value or _DRY_RUN.value):
        raise app.UsageError("--model_dir must name the run directory.")
    given = [f"--{flag.name}" for flag in _SCORING if flag.present]
    if _SCHEDULE.value == "train" and given:
        raise app.UsageError(f"{given[0]} must go with --schedule=eval_after_train.")
    start_up = startup.StartUp()
    startup.import_tensorflow()
    from ssgan_tf import config
    from ssgan_tf.training import dry_run, run_dir, schedule, summary

    start_up.done("imports")
    config.parse(_GIN_CONFIG.value, _GIN_BINDINGS.value)
    plan = config.plan(_WARM_START.value, _IMAGE_FOLDER.value)
    if _DRY_RUN.value:
        strategy = shared.get_strategy()
        print(dry_run.dry_run(plan, strategy, _JIT_COMPILE.value))
        return
    run = run_dir.RunDir(_MODEL_DIR.value)
    settings = schedule.Settings(
        schedule=_SCHEDULE.value,
        jit_compile=_JIT_COMPILE.value,
        scoring=shared.scoring_options(_NUM_EVAL_AVERAGING_RUNS.value),
        data_dir=_TFDS_DATA_DIR.value,
        eval_every_steps=_EVAL_EVERY_STEPS.value,
        score_filename=_SCORE_FILENAME.value,
        allow_config_change=_ALLOW_CONFIG_CHANGE.value,
    )
    is_chief = schedule.train_and_evaluate(
        plan, run, settings, start_up=start_up, get_strategy=shared.get_strategy
    )
    if is_chief and _SCHEDULE.value != "train":
        print(summary.summary(run, _SCORE_FILENAME.value))
