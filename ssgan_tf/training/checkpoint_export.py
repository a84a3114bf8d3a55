"""Exports a checkpoint of a run as a module."""

import contextlib
import os
import pathlib

from ssgan_tf import config
from ssgan_tf.evaluation.score_table import ScoreTable
from ssgan_tf.modules import writing
from ssgan_tf.modules.metadata import check_target
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import files


def load_run(model_dir: str | os.PathLike) -> tuple[config.Plan, RunDir]:
    """Parses the latest operative config of a run.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    run = RunDir(model_dir)
    config.parse([str(run.latest_config())])
    return config.plan(), run


def export_checkpoint(
    plan: config.Plan,
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
        plan: the configuration of the run.
        run: the run directory.
        step: int. Step of the checkpoint.
        path: folder of the module. None is `tfhub/<step>` of the run; a module there
            that is newer than the checkpoint is kept.
        weights: "ema" or "raw": which weights of G; None: the average if the run keeps
            one.
        fine_tunable: see `writing.export`.
        table: scores to copy into the module's metadata, if they are of its weights;
            None: no scores.

    Returns:
        The folder of the module.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        OSError: the module cannot be written.
        ValueError: `weights` is "ema" and the run keeps no average, or the options for
            the run's own module differ from those of training.
    """
    run.check_step(step)
    is_own = path is None
    if is_own and (weights is not None or fine_tunable):
        raise ValueError(
            "A module with other weights, or one for fine-tuning, must have a folder "
            f"of its own. Received: weights={weights}, fine_tunable={fine_tunable}, "
            f"and {run.module(step)}, which is scored. Name an --output_dir."
        )
    path = run.module(step) if is_own else pathlib.Path(path)
    # Training and its evaluation may export the same module at the same time.
    with files.lock(run.path) if is_own else contextlib.nullcontext():
        if is_own and run.has_module(step):
            return path
        check_target(path)
        # Building the networks takes longer than this check.
        run.checkpoints.check_whole(step)
        # Users of a module want exact numbers, not the speed of training.
        gan = plan.build_gan(precision="float32")
        weights = weights or ("raw" if gan.average is None else "ema")
        generator = {"raw": gan.generator, "ema": gan.average}[weights]
        if generator is None:
            raise ValueError(
                "`weights` must be raw for a run that keeps no average. Received: "
                f"weights=ema and {run.path}, whose ModularGAN.g_use_ema is False. "
                "Export weights=raw."
            )
        run.checkpoints.restore(step, gan.parts)
        batch_norm = writing.use_standing_moments(
            generator, gan.latents, plan.standing_examples, plan.run.seed
        )
        digest = writing.hash_weights(generator, gan.discriminator)
        metadata = {
            "step": step,
            "dataset": plan.dataset,
            "weights": weights,
            "batch_norm": batch_norm,
            "config": config.operative_config(),
            "scores": [
                {
                    "values": row.numbers(),
                    "protocol": row.protocol,
                    "versions": row.versions,
                }
                for row in (table.rows() if table is not None else [])
                if (row.step, row.weights_sha256) == (step, digest)
            ],
        }
        writing.export(
            generator,
            gan.discriminator,
            gan.latents,
            path,
            metadata=metadata,
            fine_tunable=fine_tunable,
        )
    return path
