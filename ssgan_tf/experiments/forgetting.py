"""Figure 3: trains a classifier whose task changes, and tests it at intervals.

A task is to tell one class from the rest. `forgetting.csv` has one row per test. The
run directory is otherwise that of a GAN, with the latest checkpoint alone.
"""

import contextlib
import dataclasses
import os

import numpy as np
import tensorflow as tf
from absl import logging
from sklearn.metrics import balanced_accuracy_score

from ssgan_tf import config, datasets, rotation
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import environment
from ssgan_tf.utils.progress import track
from ssgan_tf.utils.step_model import Diverged
from ssgan_tf.utils.tables import Table

FILENAME = "forgetting.csv"
_TEST_BATCH_SIZE = 500
_PROTOCOL = "accuracy=balanced; test_images=the class and as many of the rest"
# Separate the random numbers of the batches from those of the test images.
_BATCH_STREAM, _TEST_STREAM = 0x626174, 0x746573

# --- Tasks and batches ---------------------------------------------------------


def task_of(step: int, steps_per_task: int, num_classes: int) -> int:
    """The class of the task after `step` updates; classes take turns."""
    return step // steps_per_task % num_classes


def draw_batch(
    labels: np.ndarray, task: int, batch_size: int, *, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the images of a step: half of the class, half of the rest.

    Both halves are drawn uniformly, with replacement, and mixed. The batch is a
    function of (seed, step), so that a run continues without further state.

    Args:
        labels: int, (N,). Labels of the training split.
        task: int. The class.
        batch_size: int, even.
        seed: int. Seed of the run.
        step: int. Updates before this one.

    Returns:
        Indices of the images, int64 (batch_size,), and targets, float32 (batch_size,):
        1 for the class, 0 for the rest.
    """
    rng = np.random.default_rng((_BATCH_STREAM, seed, step))
    half = batch_size // 2
    indices = [
        rng.choice(np.flatnonzero(side), half)
        for side in (labels == task, labels != task)
    ]
    order = rng.permutation(batch_size)
    targets = np.repeat([1.0, 0.0], half)[order].astype("f")
    return np.concatenate(indices)[order], targets


def select_test_images(labels: np.ndarray, task: int) -> tuple[np.ndarray, np.ndarray]:
    """Selects the test images of a task, such that chance is one half.

    They are all images of the class, and as many of the rest (or all, if there are
    fewer), drawn without replacement, the same for all runs and steps.

    Args:
        labels: int, (M,). Labels of the test split.
        task: int. The class.

    Returns:
        Indices and targets, as `draw_batch`.
    """
    members, rest = np.flatnonzero(labels == task), np.flatnonzero(labels != task)
    rng = np.random.default_rng((_TEST_STREAM, task))
    rest = rng.choice(rest, min(len(members), len(rest)), replace=False)
    targets = np.repeat([1.0, 0.0], [len(members), len(rest)])
    return np.concatenate([members, rest]), targets.astype("f")


# --- Losses --------------------------------------------------------------------


def losses(
    discriminator, images: tf.Tensor, targets: tf.Tensor, num_rotated: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the terms that the classifier minimizes.

        L = cross-entropy(class or rest) + weight * rotation loss

    The first term takes the upright images alone, as the true/fake head does; the
    second the last `num_rotated` images in all four orientations.

    Args:
        discriminator: `networks.Discriminator`, with a rotation head unless
            `num_rotated` is 0.
        images: float (batch, size, size, channels), in [0, 1].
        targets: float (batch,). 1 for the class, 0 for the rest.
        num_rotated: int. Images that are rotated.

    Returns:
        Scalar tensors. Loss of class against rest, in nats; chance is log(2). Rotation
        loss without its weight, in nats; chance is log(4); 0 without rotated images.
        Rotation accuracy; chance is 0.25; NaN without rotated images.
    """
    batch = images.shape[0]
    if num_rotated:
        images = tf.concat([images, rotation.rotated_views(images, num_rotated)], 0)
    outputs = discriminator(images, training=True)
    loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs["logits"][:batch, 0])
    )
    if not num_rotated:
        return loss, tf.constant(0.0), tf.constant(float("nan"))
    logits = outputs["rotation_logits"][batch - num_rotated :]
    turns = rotation.rotation_labels(num_rotated)
    rotation_loss = rotation.rotation_loss(logits, turns)
    return loss, rotation_loss, rotation.rotation_accuracy(logits, turns)


# --- Training ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table: one test.

    Attributes:
        step: int. Updates so far.
        task: int. The class that the following updates train; at the end of training,
            the last class.
        accuracy: float. Mean of the accuracies on the class and on the rest, of the
            test images of that task; chance is 0.5.
        loss: float. Training loss of class against rest, in nats: the mean over the
            steps since the row before. NaN at step 0.
        rotation_accuracy: float. The same of rotations; NaN without a rotation head.
        protocol: str. The facts that the accuracy depends on besides the weights.
    """

    step: int
    task: int
    accuracy: float
    loss: float
    rotation_accuracy: float
    protocol: str


def read(path: str | os.PathLike) -> list[Row]:
    """The rows of a table, in the order of their steps.

    Raises:
        ValueError: the table is damaged; the message names the row and the column.
    """
    return Table(path, Row).rows()


def train(
    plan: config.Forgetting,
    run: RunDir,
    *,
    data_dir: str | None = None,
    allow_config_change: bool = False,
) -> list[Row]:
    """Trains to the last step, from the last checkpoint if there is one.

    Saves a checkpoint at every change of the task.

    Args:
        plan: the parameters.
        run: the run directory.
        data_dir: folder of prepared TFDS data sets, or None for TFDS's default.
        allow_config_change: continue a run begun under another configuration.

    Returns:
        All rows of the table.

    Raises:
        ValueError: the run directory holds another run, or a damaged table.
        Diverged: a loss or logit is not finite.
        OSError: the data are missing; another process trains in the run directory, or
            it cannot be written.
    """
    run.check_usable()
    splits = {
        split: datasets.load_split(plan.dataset, split, data_dir)
        for split in ("train", "test")
    }
    network, optimizer = plan.build()
    parts = {"network": network, "optimizer": optimizer}
    operative = config.operative_config()
    if not allow_config_change:
        run.check_config(operative, config.bindings())
    with run.claimed():
        first = run.checkpoints.restore_latest(parts) or 0
        table = Table(run.path / FILENAME, Row)
        rows = table.rows() if first else []
        if first and not rows:
            raise ValueError(
                f"{table.path} is missing or has no rows, at step {first} of its run. "
                "Restore the table, or train in another folder."
            )
        if first < plan.training_steps:
            logging.info("training from step %d", first)
            run.write_config(operative, first)
            run.write_environment(environment.facts(), first)
            rows = _fit(plan, run, parts, splits=splits, rows=rows)
        run.train_done.touch()
    return rows


def _fit(
    plan: config.Forgetting,
    run: RunDir,
    parts: dict,
    *,
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    rows: list[Row],
) -> list[Row]:
    """Trains to the last step, and returns the rows with those of the tests."""
    network, optimizer = parts["network"], parts["optimizer"]
    first = int(optimizer.iterations.value)
    update = update_function(network, optimizer, plan)
    accuracy_on = _test_function(network, *splits["test"])
    images, labels = splits["train"]
    num_classes = datasets.get_spec(plan.dataset).num_classes
    task = task_of(first, plan.steps_per_task, num_classes)
    # At the end of a shorter run the last task was tested, not the next one.
    rows = [
        row for row in rows if row.step < first or (row.step, row.task) == (first, task)
    ]
    # Earlier versions wrote this file, which would name a deleted checkpoint.
    (run.checkpoints.folder / "checkpoint").unlink(missing_ok=True)
    # Loss and rotation accuracy of the steps since the last test.
    logs: list[tuple[float, float]] = []

    def test(step: int) -> None:
        rows.append(_row(step, task, accuracy_on(task), logs))
        logs.clear()
        write_summaries(writer, rows[-1])

    def save(step: int) -> None:
        # The table first: a run that continues drops the rows after its checkpoint.
        Table(run.path / FILENAME, Row).write(rows)
        run.checkpoints.save(step, parts)
        run.checkpoints.keep(1)

    writer = tf.summary.create_file_writer(str(run.tensorboard))
    with contextlib.closing(writer):
        steps = range(first, plan.training_steps)
        for step in track(steps, len(steps), "training"):
            task = task_of(step, plan.steps_per_task, num_classes)
            is_tested = bool(rows) and rows[-1].step == step
            if step % plan.eval_every_steps == 0 and not is_tested:
                test(step)
            if step % plan.steps_per_task == 0 and step > first:
                save(step)
            indices, targets = draw_batch(
                labels, task, plan.batch_size, seed=plan.seed, step=step
            )
            loss, rotation_accuracy = update(images[indices], targets)
            logs.append((float(loss), float(rotation_accuracy)))
        test(plan.training_steps)
    save(plan.training_steps)
    return rows


def _row(step: int, task: int, accuracy: float, logs: list[tuple[float, float]]) -> Row:
    """The row of a test, after steps with this loss and rotation accuracy.

    Raises:
        Diverged: the loss or a logit is not finite.
    """
    loss, rotation_accuracy = np.mean(logs or [(np.nan, np.nan)], axis=0).tolist()
    if np.isnan(accuracy) or (logs and not np.isfinite(loss)):
        raise Diverged(
            "The losses and logits of a classifier must be finite. Received: "
            f"loss={loss} before step {step}. Take a smaller forgetting.lr."
        )
    return Row(
        step=step,
        task=task,
        accuracy=accuracy,
        loss=loss,
        rotation_accuracy=rotation_accuracy,
        protocol=_PROTOCOL,
    )


def write_summaries(writer: tf.summary.SummaryWriter, row: Row) -> None:
    """Writes the finite numbers of a row to TensorBoard."""
    with writer.as_default(row.step):
        for tag, value in (
            ("accuracy/class", row.accuracy),
            ("loss/class", row.loss),
            ("accuracy/rotation_real", row.rotation_accuracy),
        ):
            if np.isfinite(value):
                tf.summary.scalar(tag, value)
    # A run that is killed must keep its curves.
    writer.flush()


def update_function(network, optimizer, plan: config.Forgetting):
    """Makes the compiled update.

    Returns:
        Function of uint8 images and targets that takes one step, and returns the loss
        of class against rest and the rotation accuracy.
    """
    variables = network.trainable_variables

    @tf.function
    def update(images, targets):
        images = tf.cast(images, tf.float32) / 255.0
        with tf.GradientTape() as tape:
            loss, rotation_loss, rotation_accuracy = losses(
                network, images, targets, plan.num_rotated
            )
            total = loss + plan.weight_rotation_loss * rotation_loss
        optimizer.apply(tape.gradient(total, variables), variables)
        return loss, rotation_accuracy

    return update


def _test_function(network, images: np.ndarray, labels: np.ndarray):
    """Makes the function of a task that returns the accuracy.

    It is NaN if the logits are not finite.
    """

    @tf.function(reduce_retracing=True)
    def logits_of(batch):
        batch = tf.cast(batch, tf.float32) / 255.0
        return network(batch, training=False)["logits"][:, 0]

    def accuracy_on(task: int) -> float:
        indices, targets = select_test_images(labels, task)
        places = range(_TEST_BATCH_SIZE, len(indices), _TEST_BATCH_SIZE)
        batches = np.split(indices, places)
        logits = np.concatenate([logits_of(images[batch]) for batch in batches])
        if not np.isfinite(logits).all():
            return np.nan
        return float(balanced_accuracy_score(targets == 1, logits > 0))

    return accuracy_on
