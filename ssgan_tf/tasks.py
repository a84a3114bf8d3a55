"""Tasks: terms of the players' losses beside the adversarial loss.

The `Task` interface, the pass of all images through D, and S3GAN's class task. The
rotation tasks are in `rotation.py`. A task may add images to those that D sees, and
computes its terms from D's outputs.
"""

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class DiscriminatorOutputs(NamedTuple):
    """D's outputs for one player's images, for one task.

    Attributes:
        upright: dict of D's outputs for the batch, `(batch, ...)` each.
        extra: dict of D's outputs for the extra images of the task; None without such
            images.
        labels: int32, `(batch,)`, labels of the batch; None for an unconditional GAN.
    """

    upright: dict[str, tf.Tensor]
    extra: dict[str, tf.Tensor] | None
    labels: tf.Tensor | None


class Task(abc.ABC):
    """A term beside the adversarial losses; subclass it to add one.

    Attributes:
        heads: outputs that D must have: name -> number of columns.
        acts_on_d: whether D's loss has a term. If not, D sees no extra real images, and
            its update is that of a GAN without the task.
        acts_on_g: whether G's loss has a term.
        d_sees_fakes: whether D's term needs the fakes and their extra images.
        d_log_names: names of the scalars that `d_loss` returns.
        g_log_names: names of the scalars that `g_loss` returns.
    """

    heads: dict[str, int] = {}
    acts_on_d: bool = True
    acts_on_g: bool = True
    d_sees_fakes: bool = False
    d_log_names: tuple[str, ...] = ()
    g_log_names: tuple[str, ...] = ()

    def check(self, share_size: int, num_shares: int) -> None:
        """Raises a ValueError if the task cannot use shares of this size.

        Args:
            share_size: int. Images in one share of the batch.
            num_shares: int. Equal shares of the batch: replicas times `accumulate`.
        """

    def extra_images(self, images: tf.Tensor, num_shares: int) -> tf.Tensor | None:
        """Images that D sees after a share of the batch, derived from it; or None."""
        return None

    def extra_labels(self, labels: tf.Tensor, num_shares: int) -> tf.Tensor | None:
        """Class labels of the extra images, in a conditional GAN."""
        return None

    @abc.abstractmethod
    def d_loss(
        self,
        real: DiscriminatorOutputs,
        fake: DiscriminatorOutputs | None,
        step: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """D's term, with its weight, and scalars to log; called if `acts_on_d`.

        Args:
            real: D's outputs for the real images.
            fake: D's outputs for the fakes; None unless `d_sees_fakes`.
            step: int64 scalar. Generator steps taken so far.
        """

    @abc.abstractmethod
    def g_loss(
        self, fake: DiscriminatorOutputs, step: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """G's term, with its weight, and scalars to log; called if `acts_on_g`."""


def inputs_for_tasks(
    images: tf.Tensor,
    labels: tf.Tensor | None,
    tasks: Sequence[Task | None],
    num_shares: int,
) -> list[tuple[tf.Tensor, tf.Tensor | None] | None]:
    """D's inputs for one player: the batch, then the extra images of every task.

    Args:
        images: a share of the player's batch.
        labels: its class labels, or None.
        tasks: the tasks in order; None for a task without extra images for this player.
        num_shares: int. Shares of the batch.

    Returns:
        `(images, labels)` of the batch, then `(images, labels)` or None for every task.
    """
    inputs = [(images, labels)]
    for task in tasks:
        extra = task and task.extra_images(images, num_shares)
        extra_labels = None
        if extra is not None and labels is not None:
            extra_labels = task.extra_labels(labels, num_shares)
        inputs.append(None if extra is None else (extra, extra_labels))
    return inputs


def run_discriminator(
    discriminate: Callable, players: Sequence[list]
) -> list[list[DiscriminatorOutputs]]:
    """Runs D once on the images of all players and splits its outputs by task.

    Args:
        discriminate: `(images, labels)` -> dict of D's outputs.
        players: the result of `inputs_for_tasks` for every player.

    Returns:
        For every player a `DiscriminatorOutputs` of the batch alone, then one for every
        task.
    """
    pieces = [piece for inputs in players for piece in inputs if piece is not None]
    images, labels = zip(*pieces, strict=True)
    outputs = discriminate(
        tf.concat(images, axis=0),
        None if labels[0] is None else tf.concat(labels, axis=0),
    )
    sizes = [piece.shape[0] for piece in images]
    split = {name: tf.split(output, sizes) for name, output in outputs.items()}
    rows = iter(
        dict(zip(split, row, strict=True)) for row in zip(*split.values(), strict=True)
    )
    results = []
    for (_, batch_labels), *extra_inputs in players:
        upright = next(rows)
        extras = [None if inputs is None else next(rows) for inputs in extra_inputs]
        results.append(
            [DiscriminatorOutputs(upright, e, batch_labels) for e in (None, *extras)]
        )
    return results


class ClassTask(Task):
    """Cross-entropy of D's class predictor on the labelled real images: S3GAN.

        L_D = adversarial + weight * E_{labelled real}[-log P(label | x)]

    G's loss has no such term. The mean is over the labelled images of the global batch,
    and 0 if all labels are missing. D's projection replaces missing labels by the
    prediction, see `networks.Discriminator`.

    Args:
        num_classes: int.
        weight: float. 1 in compare_gan.

    Raises:
        ValueError: in the train step, if the GAN is unconditional.

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
                "A class task needs labels. Received: labels=None. Make the GAN "
                "conditional."
            )
        labelled = tf.cast(labels >= 0, tf.float32)
        # -1 is no valid class; its loss is dropped below.
        classes = tf.maximum(labels, 0)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
        replica = tf.distribute.get_replica_context()
        num_labelled = replica.all_reduce("SUM", tf.reduce_sum(labelled))
        # The train step takes the mean over replicas.
        scale = replica.num_replicas_in_sync / tf.maximum(num_labelled, 1.0)
        loss, accuracy = (
            scale * tf.reduce_sum(labelled * tf.cast(values, tf.float32))
            for values in (losses, hits)
        )
        logs = {"loss/class_real": loss, "accuracy/class_real": accuracy}
        return self.weight * loss, logs

    def g_loss(self, fake, step):
        raise NotImplementedError("This task acts on D only.")
