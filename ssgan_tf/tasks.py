"""Tasks: terms that both players' losses get beside the adversarial pair.

Chen et al. add one, the rotation task; whatever else a discriminator is to learn is
added in the same way. A task says which further images D is shown behind each batch,
and what the players then lose.
"""

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class DiscriminatorOutputs(NamedTuple):
    """What D says of one player's images.

    Attributes:
        upright: dict of D's outputs for the batch, `(batch, ...)` each.
        extra: dict of its outputs for the task's extra images; None where the task has
            none, or where they were not shown.
        labels: int32, `(batch,)`, of the batch; None for an unconditional GAN.
    """

    upright: dict[str, tf.Tensor]
    extra: dict[str, tf.Tensor] | None
    labels: tf.Tensor | None


class Task(abc.ABC):
    """A term beside the adversarial losses; subclass it to add one.

    Attributes:
        heads: outputs that D must have: name -> number of columns.
        acts_on_d: whether D's loss has a term; without one, D is shown no extra real
            images, and the step is that of a GAN without the task.
        acts_on_g: the same of G's loss.
        d_sees_fakes: whether D's term needs the fakes, extra images included.
        d_log_names: names of the scalars that `d_loss` reports.
        g_log_names: the same of `g_loss`.
    """

    heads: dict[str, int] = {}
    acts_on_d: bool = True
    acts_on_g: bool = True
    d_sees_fakes: bool = False
    d_log_names: tuple[str, ...] = ()
    g_log_names: tuple[str, ...] = ()

    def check(self, batch_size: int, num_shares: int) -> None:
        """Raises ValueError where the task cannot do with one share of the batch.

        Args:
            batch_size: int. Images in the share.
            num_shares: int. Equal shares of the batch: replicas, times the pieces that
                each of them cuts its own into.
        """

    def extra_images(self, images: tf.Tensor, num_shares: int) -> tf.Tensor | None:
        """What D is shown behind a share of the batch, made of it."""
        return None

    def extra_labels(self, labels: tf.Tensor, num_shares: int) -> tf.Tensor | None:
        """Class labels of the extra images; called where there are such images."""
        return None

    @abc.abstractmethod
    def d_loss(
        self,
        real: DiscriminatorOutputs,
        fake: DiscriminatorOutputs | None,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """D's term, with its weight, and scalars to report; called if `acts_on_d`.

        Args:
            real: of the real images.
            fake: of the fakes; None unless `d_sees_fakes`.
            step: int64 scalar. Generator steps taken.
        """

    @abc.abstractmethod
    def g_loss(
        self, fake: DiscriminatorOutputs, step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """G's term, with its weight, and scalars to report; called if `acts_on_g`."""


def inputs_for_tasks(
    images: tf.Tensor,
    labels: tf.Tensor | None,
    tasks: Sequence[Task | None],
    num_shares: int,
) -> list[tuple[tf.Tensor, tf.Tensor | None] | None]:
    """What D is shown of one player: the batch, then each task's extra images.

    Args:
        images: a share of the player's batch.
        labels: its class labels, or None.
        tasks: None for one whose extra images are not wanted here.
        num_shares: int. How many such shares there are.

    Returns:
        `(images, labels)` of the batch and of each task, None where there is nothing.
    """
    shown = [(images, labels)]
    for task in tasks:
        extra = extra_labels = None
        if task is not None:
            extra = task.extra_images(images, num_shares)
        if extra is not None and labels is not None:
            extra_labels = task.extra_labels(labels, num_shares)
        shown.append(None if extra is None else (extra, extra_labels))
    return shown


def run_discriminator(
    discriminate: Callable, players: Sequence[list]
) -> list[list[DiscriminatorOutputs]]:
    """What D says of what the players show, in one pass.

    Args:
        discriminate: `(images, labels)` -> dict of D's outputs.
        players: what `inputs_for_tasks` returned, for each player.

    Returns:
        For each player a `DiscriminatorOutputs` of the batch alone, then one for each
        task.
    """
    pieces = [piece for shown in players for piece in shown if piece is not None]
    images, labels = zip(*pieces, strict=True)
    outputs = discriminate(
        tf.concat(images, axis=0),
        None if labels[0] is None else tf.concat(labels, axis=0),
    )
    sizes = [piece.shape[0] for piece in images]
    said = iter(
        dict(zip(outputs, columns, strict=True))
        for columns in zip(
            *(tf.split(output, sizes) for output in outputs.values()), strict=True
        )
    )
    seen = []
    for (_, batch_labels), *extras in players:
        upright = next(said)
        heard = [None, *(None if extra is None else next(said) for extra in extras)]
        seen.append(
            [DiscriminatorOutputs(upright, extra, batch_labels) for extra in heard]
        )
    return seen


class ClassTask(Task):
    """Cross-entropy of D's class predictor on the labelled real images: S3GAN.

        L_D = adversarial + weight * E_{labelled real}[-log P(label | x)]

    G's loss has no such term. The mean is over the labelled images of the global
    batch; without any it is 0. The prediction itself stands in for missing labels in
    D's projection, see `networks.Discriminator`.

    Args:
        num_classes: int.
        weight: float. 1 in compare_gan.

    Raises:
        ValueError: on use, in a GAN without classes.

    Reference:
        - Lucic et al., 2019, section 3, https://arxiv.org/abs/1903.02271
    """

    acts_on_g = False
    d_log_names = ("loss/class_real", "accuracy/class_real")

    def __init__(self, num_classes: int, weight: float = 1.0):
        self.heads = {"class_logits": num_classes}
        self.weight = weight
        self.acts_on_d = weight != 0

    def d_loss(self, real, fake, step):
        logits, labels = real.upright["class_logits"], real.labels
        if labels is None:
            raise ValueError(
                "A class task needs the labels of the real images. Received: "
                "labels=None. Make the GAN conditional."
            )
        labelled = tf.cast(labels >= 0, tf.float32)
        legal = tf.maximum(labels, 0)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(legal, logits)
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
        replica = tf.distribute.get_replica_context()
        num_labelled = replica.all_reduce(
            tf.distribute.ReduceOp.SUM, tf.reduce_sum(labelled)
        )
        # This replica's part of the global mean, as the mean of its own share.
        share = replica.num_replicas_in_sync / tf.maximum(num_labelled, 1.0)
        loss, accuracy = (
            share * tf.reduce_sum(labelled * tf.cast(each, tf.float32))
            for each in (losses, hits)
        )
        return self.weight * loss, {
            "loss/class_real": loss,
            "accuracy/class_real": accuracy,
        }

    def g_loss(self, fake, step):
        raise NotImplementedError("This task acts on D alone.")
