"""Exports a checkpoint of a run as a module."""

import json
import os
import pathlib

from ssgan_tf import config
from ssgan_tf.evaluation.score_table import ScoreTable
from ssgan_tf.modules import writing
from ssgan_tf.modules.metadata import check_target
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import files


def load_run(model_dir: str) -> tuple[config.Plan, RunDir]:
    """A run directory and the experiment that its latest operative config describes.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    run = RunDir(model_dir)
    config.parse([str(run.latest_config())])
    return config.plan(), run


def export_checkpoint(
    experiment: config.Plan,
    run: RunDir,
    step: int,
    path: str | os.PathLike | None = None,
    *,
    weights: str | None = None,
    fine_tunable: bool = False,
    table: ScoreTable | None = None,
) -> pathlib.Path:
    """Exports a checkpoint.

    Args:
        experiment: what was trained.
        run: where the checkpoint lies.
        step: int. Which checkpoint.
        path: folder of the module; None is `tfhub/<step>` of the run, where a module
            that is there and newer than the checkpoint stays.
        weights: "ema" or "raw": which weights of G; None: the average where one is
            kept.
        fine_tunable: see `writing.export`.
        table: the scores that the module's metadata repeat, where they are of its
            weights; None: no scores.

    Returns:
        The folder of the module.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        OSError: the module cannot be written there.
        ValueError: the run has kept no average, and that is asked for; or the module
            of the run itself is to be another one than training exports.
    """
    run.check_step(step)
    how = {"weights": weights, "fine_tunable": fine_tunable, "table": table}
    if path is not None:
        _export(experiment, run, step, pathlib.Path(path), **how)
        return pathlib.Path(path)
    if weights is not None or fine_tunable:
        raise ValueError(
            "A module with other weights, or one for fine-tuning, must have a folder "
            f"of its own. Received: weights={weights}, fine_tunable={fine_tunable}, "
            f"and {run.module(step)}, which is scored. Name an --output_dir."
        )
    # A training and its evaluation may want the same module at the same time.
    with files.lock(run.path):
        if not run.has_module(step):
            _export(experiment, run, step, run.module(step), **how)
    return run.module(step)


def _export(
    experiment,
    run: RunDir,
    step: int,
    path: pathlib.Path,
    *,
    weights: str | None,
    fine_tunable: bool,
    table: ScoreTable | None,
) -> None:
    check_target(path)
    # Networks cost more than a look.
    run.checkpoints.check_whole(step)
    # Whoever loads a module wants its numbers, not the speed of the training.
    gan = experiment.build_gan(precision="float32")
    weights = weights or ("raw" if gan.average is None else "ema")
    generator = {"raw": gan.generator, "ema": gan.average}[weights]
    if generator is None:
        raise ValueError(
            "Averaged weights must have been kept in training. Received: weights=ema "
            f"and {run.path}, which kept none (ModularGAN.g_use_ema = False). Export "
            "weights=raw."
        )
    run.checkpoints.restore(gan, step)
    batch_norm = writing.use_standing_moments(
        generator, gan.latents, experiment.standing_examples, experiment.run.seed
    )
    scores = []
    if table is not None:
        digest = writing.hash_weights(generator, gan.discriminator)
        scores = _scores_of(table, step, digest)
    writing.export(
        generator,
        gan.discriminator,
        gan.latents,
        path,
        {
            "step": step,
            "dataset": experiment.dataset,
            "weights": weights,
            "batch_norm": batch_norm,
            "config": config.operative_config(),
            "scores": scores,
        },
        fine_tunable=fine_tunable,
    )


def _scores_of(table: ScoreTable, step: int, weights: str) -> list[dict]:
    """All scores of a module, one dict for each protocol; a number for each seed."""
    return [
        {
            "values": {
                name.removesuffix("_list"): json.loads(numbers)
                for name, numbers in row.items()
                if name.endswith("_list") and numbers
            },
            "protocol": row["protocol"],
            "versions": row["versions"],
        }
        for row in table.rows()
        if (row["step"], row["weights_sha256"]) == (str(step), weights)
    ]
