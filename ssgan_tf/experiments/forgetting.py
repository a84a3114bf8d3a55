"""Figure 3: trains a classifier whose task changes, and tests it as it goes.

`forgetting.csv` has one row per test. A run directory otherwise as that of a GAN, with
the latest checkpoint alone.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import config, datasets, rotation
from ssgan_tf.gan import Diverged
from ssgan_tf.training.checkpoints import state_of
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment, tables
from ssgan_tf.utils.progress import track

FILENAME = "forgetting.csv"
_BATCH_SIZE = 500
_PROTOCOL = "accuracy=balanced; test_images=the class and as many of the rest"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        step: int. Updates so far.
        task: int. The class that is told from the rest from here on; at the end of
            training, the last one.
        accuracy: float. On the test images of that task, `balanced_accuracy`.
        loss: float. In training, mean of the steps since the row before: of the
            classifier alone, in nats; NaN at step 0.
        rotation_accuracy: float. Likewise; NaN without a rotation head.
        protocol: str.
    """

    step: int
    task: int
    accuracy: float
    loss: float
    rotation_accuracy: float
    protocol: str


_COLUMNS = [field.name for field in dataclasses.fields(Row)]


def read(path: str | os.PathLike) -> list[Row]:
    """The rows of a table, in the order of their steps.

    Raises:
        ValueError: the file is no such table; the message names the row.
        FileNotFoundError: there is none.
    """
    columns, rows = tables.read_csv(path)
    if columns != _COLUMNS:
        raise ValueError(
            f"A table of `ssgan forget` must have the columns {_COLUMNS}. Received: "
            f"{path} with the columns {columns}. Move that run away."
        )
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(
                Row(*(field.type(row[field.name]) for field in dataclasses.fields(Row)))
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                "A row of a table of `ssgan forget` must hold a number in each cell. "
                f"Received: {path}, row {number}: {error}. Move that run away."
            ) from error
    return found


def _write(path: pathlib.Path, rows: list[Row]) -> None:
    texts = [{k: str(v) for k, v in dataclasses.asdict(row).items()} for row in rows]
    tables.write_csv(path, _COLUMNS, texts)


def train(
    plan: config.Forgetting,
    run: RunDir,
    *,
    data_dir: str | None = None,
    allow_config_change: bool = False,
) -> list[Row]:
    """Trains to the last step, from the last checkpoint if there is one.

    There is a checkpoint at every change of the task.

    Args:
        plan: what the config says.
        run: where to keep it.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.
        allow_config_change: go on with a run begun under another configuration.

    Returns:
        All rows of the table.

    Raises:
        ValueError: the run directory holds another run, or a damaged table.
        Diverged: a loss or logit is not finite.
        OSError: the data are not there; another process trains in the run directory,
            or it cannot be written.
    """
    run.check_usable()
    splits = [
        datasets.load_split(plan.dataset, split, data_dir)
        for split in ("train", "test")
    ]
    network, optimizer = plan.build()
    operative = config.operative_config()
    if not allow_config_change:
        run.check_config(operative, config.bindings())
    with run.claimed():
        checkpoint = tf.train.Checkpoint(
            network=state_of(network), optimizer=state_of(optimizer)
        )
        manager = tf.train.CheckpointManager(
            checkpoint, str(run.checkpoints.folder), max_to_keep=1
        )
        if manager.latest_checkpoint:
            checkpoint.restore(manager.latest_checkpoint).assert_consumed()
            logging.info("continuing from %s", manager.latest_checkpoint)
        table, first = run.path / FILENAME, int(optimizer.iterations.value)
        rows = read(table) if first else []
        if first and not rows:
            raise ValueError(
                "A run that goes on must have its table. Received: "
                f"{table} without rows, at step {first}. Move that run away."
            )
        if first < plan.training_steps:
            rows = _taken_over(rows, plan, first)
            run.write_config(operative, first)
            run.write_environment(environment.facts(), first)

            def save(step: int) -> None:
                # The table first: what it has too much is dropped in going on.
                _write(table, rows)
                manager.save(checkpoint_number=step)

            writer = tf.summary.create_file_writer(str(run.tensorboard))
            with contextlib.closing(writer):
                tested = bool(rows) and rows[-1].step == first
                for row in _training(network, optimizer, plan, splits, save, tested):
                    rows.append(row)
                    _show(writer, row)
            save(plan.training_steps)
        run.train_done.touch()
    return rows


def _taken_over(rows: list[Row], plan: config.Forgetting, first: int) -> list[Row]:
    """The rows of a run that goes on from a step."""
    # At the end of a shorter run the last task was tested.
    last = (first, _task_of(plan, first))
    return [row for row in rows if row.step < first or (row.step, row.task) == last]


def _show(writer: tf.summary.SummaryWriter, row: Row) -> None:
    with writer.as_default(row.step):
        for tag, value in (
            ("accuracy/class", row.accuracy),
            ("loss/class", row.loss),
            ("accuracy/rotation_real", row.rotation_accuracy),
        ):
            if np.isfinite(value):
                tf.summary.scalar(tag, value)
    # So that a run that is killed keeps its curves.
    writer.flush()


def _task_of(plan: config.Forgetting, step: int) -> int:
    num_classes = datasets.get_spec(plan.dataset).num_classes
    return task_of(step, plan.steps_per_task, num_classes)


def _training(
    network, optimizer, plan, splits, save: Callable, tested: bool
) -> Iterator[Row]:
    """Trains from the optimizer's step on; yields what each test finds.

    `tested` says that the first step's is known.
    """
    (images, labels), test_split = splits
    update = _update(network, optimizer, plan)
    log_odds = _log_odds(network)
    first, last, seen = int(optimizer.iterations.value), plan.training_steps, []

    def test(step: int, task: int) -> Row:
        accuracy = _accuracy(log_odds, *test_split, task)
        loss, turns = np.mean(seen, axis=0) if seen else (np.nan, np.nan)
        if np.isnan(accuracy) or (seen and not np.isfinite(loss)):
            raise Diverged(
                f"The losses and logits of a classifier must be finite. Received: "
                f"loss={loss} before step {step}. Take a smaller forgetting.lr."
            )
        seen.clear()
        return Row(step, task, accuracy, float(loss), float(turns), _PROTOCOL)

    task = None
    for step in track(range(first, last), last - first, "training"):
        task = _task_of(plan, step)
        if step % plan.eval_every_steps == 0 and not (tested and step == first):
            yield test(step, task)
        if step % plan.steps_per_task == 0 and step > first:
            save(step)
        places, targets = draw_batch(
            labels, task, plan.batch_size, seed=plan.seed, step=step
        )
        seen.append([float(each) for each in update(images[places], targets)])
    yield test(last, task)


def _update(network, optimizer, plan: config.Forgetting):
    """A function of uint8 images and targets: one update; loss, rotation accuracy."""
    variables = network.trainable_variables

    @tf.function
    def update(images, targets):
        images = tf.cast(images, tf.float32) / 255.0
        with tf.GradientTape() as tape:
            found = losses(network, images, targets, plan.num_rotated)
            total = found.loss + plan.weight_rotation_loss * found.rotation_loss
        optimizer.apply(tape.gradient(total, variables), variables)
        return found.loss, found.rotation_accuracy

    return update


def _log_odds(network):
    """A function of uint8 images: the logits of the class against the rest."""

    @tf.function(reduce_retracing=True)
    def log_odds(images):
        images = tf.cast(images, tf.float32) / 255.0
        return network(images, training=False)["logits"][:, 0]

    return log_odds


def _accuracy(log_odds, images, labels, task: int) -> float:
    places, targets = test_places(labels, task)
    parts = np.split(places, range(_BATCH_SIZE, len(places), _BATCH_SIZE))
    logits = np.concatenate([log_odds(images[part]) for part in parts])
    if not np.isfinite(logits).all():
        return float("nan")
    return balanced_accuracy(logits, targets)


# Keeps the bits of the batches apart from those of the test images.
_BATCH_STREAM, _TEST_STREAM = 0x626174, 0x746573


def task_of(step: int, steps_per_task: int, num_classes: int) -> int:
    """The class that is told from the rest after `step` updates; they go in turn."""
    return step // steps_per_task % num_classes


def draw_batch(
    labels: np.ndarray, task: int, batch_size: int, *, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which images a step is trained on: half of the class, half of the rest.

    Both halves are drawn uniformly, with replacement, and mixed. A function of (seed,
    step): a run that goes on needs no more.

    Args:
        labels: int, (N,). Of the training split.
        task: int. The class.
        batch_size: int, even.
        seed, step: int. Of the run; of the updates before this one.

    Returns:
        Places of the images, int64 (batch_size,), and whether each is of the class,
        float32 (batch_size,).
    """
    rng = np.random.default_rng((_BATCH_STREAM, seed, step))
    half = batch_size // 2
    places = [
        rng.choice(np.flatnonzero(side), half)
        for side in (labels == task, labels != task)
    ]
    order = rng.permutation(batch_size)
    return np.concatenate(places)[order], np.repeat([1.0, 0.0], half)[order].astype("f")


def test_places(labels: np.ndarray, task: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images of the test split a task is tested on: chance is one half.

    All of the class, and as many of the rest (all, where there are fewer), drawn
    without replacement, the same ones for all runs and steps.

    Args:
        labels: int, (M,). Of the test split.
        task: int. The class.

    Returns:
        As `draw_batch`.
    """
    of_class, rest = np.flatnonzero(labels == task), np.flatnonzero(labels != task)
    rng = np.random.default_rng((_TEST_STREAM, task))
    rest = rng.choice(rest, min(len(of_class), len(rest)), replace=False)
    targets = np.repeat([1.0, 0.0], [len(of_class), len(rest)])
    return np.concatenate([of_class, rest]), targets.astype("f")


class Losses(NamedTuple):
    """What a batch says of the classifier.

    Attributes:
        loss: scalar tensor, nats. Of the class against the rest; chance is log(2).
        rotation_loss: scalar tensor, nats; chance is log(4). 0 where nothing is turned.
        rotation_accuracy: scalar tensor in [0, 1]; chance is 0.25. NaN likewise.
    """

    loss: tf.Tensor
    rotation_loss: tf.Tensor
    rotation_accuracy: tf.Tensor


def losses(
    discriminator, images: tf.Tensor, targets: tf.Tensor, num_rotated: int
) -> Losses:
    """What the classifier minimizes.

        L = cross-entropy(class or rest) + weight * rotation loss

    The first is of the upright images alone, as the true/fake head sees no others; the
    second of the last `num_rotated` images in all four orientations.

    Args:
        discriminator: `networks.Discriminator`; with a rotation head where
            `num_rotated` is not 0.
        images: float (batch, size, size, channels), in [0, 1].
        targets: float (batch,). 1 for the class, 0 for the rest.
        num_rotated: int. 0: no image is turned.

    Returns:
        `Losses`, without the weight.
    """
    batch = images.shape[0]
    if num_rotated:
        images = tf.concat([images, rotation.rotated_views(images, num_rotated)], 0)
    outputs = discriminator(images, training=True)
    loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs["logits"][:batch, 0])
    )
    if not num_rotated:
        return Losses(loss, tf.constant(0.0), tf.constant(float("nan")))
    turned = (
        outputs["rotation_logits"][batch - num_rotated :],
        rotation.rotation_labels(num_rotated),
    )
    return Losses(
        loss, rotation.rotation_loss(*turned), rotation.rotation_accuracy(*turned)
    )


def balanced_accuracy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean of the shares of the class and of the rest that are told right.

    Args:
        logits: (n,). Above 0: the class.
        targets: (n,), 1 or 0.

    Returns:
        In [0, 1]; chance is 0.5.
    """
    right = (np.asarray(logits) > 0) == (np.asarray(targets) == 1)
    return float(np.mean([right[targets == side].mean() for side in (0, 1)]))
