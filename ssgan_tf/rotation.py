"""The rotation loss of SS-GAN: D predicts how often an image was turned by 90 degrees.

    L_G = -V(G, D) - alpha E_{x ~ P_G}    E_{r ~ R} log Q_D(R = r | x^r)
    L_D =  V(G, D) - beta  E_{x ~ P_data} E_{r ~ R} log Q_D(R = r | x^r)

x^r is the image x rotated by r, R = {0, 90, 180, 270} degrees; Q_D: D's rotation head.
For V and -V the GAN takes a pair of adversarial losses, each minimized by its player.
Rotations are integers 0 to 3, quarter turns counter-clockwise.

First the pure functions, then the tasks: SS-GAN and its successors SS-GAN-MS and
SSGAN-LA.

Reference:
    - Chen et al., "Self-Supervised GANs via Auxiliary Rotation Loss", CVPR 2019,
      section 3, https://arxiv.org/abs/1811.11212
"""

import dataclasses

import tensorflow as tf

from ssgan_tf.tasks import DiscriminatorOutputs, Task

NUM_ROTATIONS = 4

# Outputs of a rotation head: four rotations (SS-GAN); the same and a class for fakes
# (SS-GAN-MS); four rotations of reals, then of fakes (SSGAN-LA).
HEAD_SIZES = (NUM_ROTATIONS, NUM_ROTATIONS + 1, 2 * NUM_ROTATIONS)


def rotate(images: tf.Tensor, rotation: int) -> tf.Tensor:
    """Rotates square images counter-clockwise, as `np.rot90` does.

    Args:
        images: `(batch, size, size, channels)`, any dtype.
        rotation: int. Quarter turns; taken modulo 4.

    Returns:
        Tensor of the shape and dtype of `images`.
    """
    rotation %= NUM_ROTATIONS
    if rotation == 1:
        return tf.reverse(tf.transpose(images, [0, 2, 1, 3]), axis=[1])
    if rotation == 2:
        return tf.reverse(images, axis=[1, 2])
    if rotation == 3:
        return tf.transpose(tf.reverse(images, axis=[1]), [0, 2, 1, 3])
    return images


def chosen(
    rows: tf.Tensor, num_rotated: int, rotation: int, each_in_one: bool = False
) -> tf.Tensor:
    """The rows of a batch that D sees in one orientation.

    Args:
        rows: `(batch, ...)`: images, their labels, or D's outputs for them.
        num_rotated: int. Images n per orientation; in [1, batch], or in [1, batch / 4]
            with `each_in_one`.
        rotation: int in [0, 4).
        each_in_one: bool. False: the last n rows for every rotation, as in compare_gan.
            True: the n rows from `rotation * n` on, so that every image has one
            orientation, as in mimicry.

    Returns:
        `(num_rotated, ...)`.
    """
    if each_in_one:
        return rows[rotation * num_rotated : (rotation + 1) * num_rotated]
    return rows[-num_rotated:]


def rotated_views(
    images: tf.Tensor, num_rotated: int, each_in_one: bool = False
) -> tf.Tensor:
    """Chosen images rotated by 90, 180 and 270 degrees.

    The upright ones are in the batch already. D sees the batch and these views in one
    pass.

    Args:
        images: `(batch, size, size, channels)`.
        num_rotated: int. Images per orientation; see `chosen`.
        each_in_one: see `chosen`.

    Returns:
        `(3 * num_rotated, size, size, channels)`: n images rotated once, n twice, n
        three times.
    """
    views = [
        rotate(chosen(images, num_rotated, rotation, each_in_one), rotation)
        for rotation in range(1, NUM_ROTATIONS)
    ]
    return tf.concat(views, axis=0)


def rotation_labels(num_rotated: int) -> tf.Tensor:
    """Rotations of n upright images and their `rotated_views`: n zeros, n ones, ...

    Args:
        num_rotated: int. Images n per orientation.

    Returns:
        int32, `(4 * num_rotated,)`.
    """
    return tf.repeat(tf.range(NUM_ROTATIONS), num_rotated)


def rotation_loss(logits: tf.Tensor, rotations: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of the rotation head.

        - E_x E_{r ~ R} log Q_D(R = r | x^r)

    Both players minimize it: D on real images (weight beta = 1), G on its own samples
    (weight alpha = 0.2). The term is collaborative, not adversarial.

    Args:
        logits: `(batch, classes)`, before the softmax; 4 classes in SS-GAN.
        rotations: int, `(batch,)`, in [0, classes).

    Returns:
        Scalar, in nats; log(4) = 1.386 is chance level.
    """
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=rotations, logits=logits)
    )


def rotation_scores(logits: tf.Tensor) -> tf.Tensor:
    """Logits of the four rotations from a rotation head of any kind.

    Args:
        logits: `(batch, 4)`; or `(batch, 5)`, whose last class, fakes, is dropped; or
            `(batch, 8)`, rotations of reals, then of fakes, whose probabilities are
            added.

    Returns:
        `(batch, 4)`.
    """
    if logits.shape[-1] == 2 * NUM_ROTATIONS:
        return tf.reduce_logsumexp(tf.stack(tf.split(logits, 2, axis=-1)), axis=0)
    return logits[:, :NUM_ROTATIONS]


def rotation_accuracy(logits: tf.Tensor, rotations: tf.Tensor) -> tf.Tensor:
    """Share of images whose rotation the head predicts.

    Args:
        logits: `(batch, 4)`, or 5 or 8 as `rotation_scores` takes them.
        rotations: int32, `(batch,)`, in [0, 4).

    Returns:
        Scalar in [0, 1]; chance is 0.25.
    """
    scores = rotation_scores(logits)
    predicted = tf.argmax(scores, axis=-1, output_type=rotations.dtype)
    return tf.reduce_mean(tf.cast(tf.equal(predicted, rotations), tf.float32))


@dataclasses.dataclass(frozen=True)
class RotationTask(Task):
    """SS-GAN: rotation losses of both players, sections 3.1 and 3.2.

        L_D = adversarial + beta  * rotation_loss(real images)
        L_G = adversarial + alpha * rotation_loss(fake images)

    D sees `rotated_batch_size / 4` images of the batch in each orientation, an equal
    number from every share. D does not learn rotation from fakes, nor G from reals.
    Rotated images keep their class labels.

    With alpha > 0 G need not converge to the data distribution; `g_anneal_steps`
    reduces alpha to 0 (section 3.2).

    Attributes:
        rotated_batch_size: int. Images in the rotation loss per global batch, upright
            ones included; a multiple of 4 x shares.
        d_weight: float. beta; 1 in the paper.
        g_weight: float. alpha; 0.2 in the paper.
        each_in_one: bool. False: the last images of the batch in all four orientations
            (compare_gan). True: the first quarter of the images upright, the second
            rotated once, and so on (mimicry).
        g_anneal_steps: int or None. Step at which alpha, falling linearly, reaches 0;
            None for a constant alpha.

    Raises:
        ValueError: `rotated_batch_size` is not a positive multiple of 4, or
            `g_anneal_steps` is not positive.

    Reference:
        - Chen et al., 2019, https://arxiv.org/abs/1811.11212
    """

    rotated_batch_size: int
    d_weight: float = 1.0
    g_weight: float = 0.2
    each_in_one: bool = False
    g_anneal_steps: int | None = None

    heads = {"rotation_logits": NUM_ROTATIONS}
    d_log_names = ("loss/rotation_real", "accuracy/rotation_real")
    g_log_names = ("loss/rotation_fake", "accuracy/rotation_fake")

    def __post_init__(self):
        size = self.rotated_batch_size
        if size < 4 or size % NUM_ROTATIONS:
            raise ValueError(
                "`rotated_batch_size` must be a positive multiple of 4, the number of "
                f"orientations. Received: rotated_batch_size={size}."
            )
        if self.g_anneal_steps is not None and self.g_anneal_steps < 1:
            raise ValueError(
                "`g_anneal_steps` must be a positive number of steps, or None. "
                f"Received: g_anneal_steps={self.g_anneal_steps}."
            )

    @property
    def acts_on_d(self) -> bool:
        """Whether beta is not zero."""
        return self.d_weight != 0

    @property
    def acts_on_g(self) -> bool:
        """Whether alpha is not zero at the start."""
        return self.g_weight != 0

    def num_rotated(self, num_shares: int) -> int:
        """Images of one share in each orientation."""
        return self.rotated_batch_size // (NUM_ROTATIONS * num_shares)

    def check(self, share_size, num_shares):
        size, batch_size = self.rotated_batch_size, share_size * num_shares
        divisor = NUM_ROTATIONS * num_shares
        if size % divisor:
            raise ValueError(
                f"`rotated_batch_size` must be a multiple of {divisor}, 4 x replicas x "
                f"`options.accumulate`. Received: rotated_batch_size={size}, "
                f"shares={num_shares}."
            )
        if size > batch_size * (1 if self.each_in_one else NUM_ROTATIONS):
            factor = "" if self.each_in_one else "4 x "
            raise ValueError(
                f"`rotated_batch_size` must be at most {factor}the batch size. "
                f"Received: rotated_batch_size={size}, batch_size={batch_size}."
            )

    def extra_images(self, images, num_shares):
        return rotated_views(images, self.num_rotated(num_shares), self.each_in_one)

    def extra_labels(self, labels, num_shares):
        num = self.num_rotated(num_shares)
        rows = [chosen(labels, num, k, self.each_in_one) for k in (1, 2, 3)]
        return tf.concat(rows, axis=0)

    def _rotation_logits(
        self, outputs: DiscriminatorOutputs
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Rotation logits of the chosen images in all orientations, and the labels."""
        extra = outputs.extra["rotation_logits"]
        num = extra.shape[0] // (NUM_ROTATIONS - 1)
        upright = chosen(outputs.upright["rotation_logits"], num, 0, self.each_in_one)
        return tf.concat([upright, extra], axis=0), rotation_labels(num)

    def _alpha(self, step: tf.Tensor) -> tf.Tensor | float:
        if self.g_anneal_steps is None:
            return self.g_weight
        left = 1.0 - tf.cast(step, tf.float32) / self.g_anneal_steps
        return self.g_weight * tf.maximum(left, 0.0)

    def d_loss(self, real, fake, step):
        logits, rotations = self._rotation_logits(real)
        loss = rotation_loss(logits, rotations)
        return self.d_weight * loss, _logs("real", loss, logits, rotations)

    def g_loss(self, fake, step):
        logits, rotations = self._rotation_logits(fake)
        loss = rotation_loss(logits, rotations)
        return self._alpha(step) * loss, _logs("fake", loss, logits, rotations)


def _logs(
    side: str, loss: tf.Tensor, logits: tf.Tensor, rotations: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Scalars to log for the "real" or the "fake" images."""
    return {
        f"loss/rotation_{side}": loss,
        f"accuracy/rotation_{side}": rotation_accuracy(logits, rotations),
    }


class MinimaxRotationTask(RotationTask):
    """SS-GAN-MS: the rotation head has a fifth class, for fakes.

        L_D = adversarial + beta  * (E_real[-log Q(r | x^r)] + E_fake[-log Q(4 | x^r)])
        L_G = adversarial + alpha * (E_fake[-log Q(r | x^r)] - E_fake[-log Q(4 | x^r)])

    In SS-GAN a collapsed G whose rotations are easy to predict lowers its loss; here
    its rotated images must also pass for real ones. The two entropies of L_G have the
    same normalizer, so their difference, logged as `loss/rotation_fake`, is the mean of
    logit 4 minus logit r. It may be negative.

    Reference:
        - Tran et al., 2019, https://arxiv.org/abs/1911.06997
    """

    heads = {"rotation_logits": NUM_ROTATIONS + 1}
    d_sees_fakes = True
    d_log_names = (*RotationTask.d_log_names, "loss/rotation_d_fake")

    def fake_classes(self, rotations: tf.Tensor) -> tf.Tensor:
        """The target class of fakes with these rotations; int32, `(batch,)`."""
        return tf.fill(tf.shape(rotations), NUM_ROTATIONS)

    def d_loss(self, real, fake, step):
        loss, logs = super().d_loss(real, fake, step)
        logits, rotations = self._rotation_logits(fake)
        fake_loss = rotation_loss(logits, self.fake_classes(rotations))
        logs["loss/rotation_d_fake"] = fake_loss
        return loss + self.d_weight * fake_loss, logs

    def g_loss(self, fake, step):
        logits, rotations = self._rotation_logits(fake)
        real_logit, fake_logit = (
            tf.gather(logits, classes, batch_dims=1)
            for classes in (rotations, self.fake_classes(rotations))
        )
        loss = tf.reduce_mean(fake_logit - real_logit)
        return self._alpha(step) * loss, _logs("fake", loss, logits, rotations)


class LabelAugmentedTask(MinimaxRotationTask):
    """SSGAN-LA: one eight-way head, {real, fake} x rotation, replaces both heads.

        L_D = E_real[-log Q(r | x^r)] + E_fake[-log Q(4 + r | x^r)]
        L_G = E_fake[-log Q(r | x^r)] - E_fake[-log Q(4 + r | x^r)]

    Classes 0 to 3 are rotations of real images, 4 to 7 of fakes. Use it with weights 1
    and without an adversarial loss.

    Reference:
        - Hou et al., 2021, section 4, https://arxiv.org/abs/2106.08601
    """

    heads = {"rotation_logits": 2 * NUM_ROTATIONS}

    def fake_classes(self, rotations):
        return NUM_ROTATIONS + rotations
