"""Figure 3: does a classifier forget what it learned when its task changes?

One class against the rest: a two-headed network, D of a GAN, is trained to tell the
images of one class from those of all others, and every so many steps the class is the
next one. With a weight on the rotation loss it also predicts which quarter turn an
image was given, a task that stays. Pure functions of (seed, step); the paper names
neither network nor optimizer nor how the rest is sampled: docs/forgetting.md has ours.

Reference:
    - Chen et al., 2019, section 2.2 and figure 3, https://arxiv.org/abs/1811.11212
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ssgan_tf import rotation

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
