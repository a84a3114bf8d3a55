"""The rotation objectives: SS-GAN, and the two successors that repair its weakness."""

import dataclasses

import tensorflow as tf

from ssgan_tf import rotation
from ssgan_tf.tasks import Seen, Task


@dataclasses.dataclass(frozen=True)
class RotationTask(Task):
    """Rotation losses of both players: SS-GAN, sections 3.1 and 3.2.

        L_D = adversarial + beta  * rotation_loss(real images)
        L_G = adversarial + alpha * rotation_loss(fake images)

    `rotated_batch_size / 4` images of the batch are shown in each orientation: the last
    ones in all four, or every one in a single orientation. (Of each share, where there
    are several.) D never learns rotation from fakes, nor G from reals. In a conditional
    GAN, rotated images keep the labels that they have upright.

    With alpha > 0 nothing says that G converges to the data; `g_anneal_steps` takes
    alpha to zero (section 3.2 of the paper).

    Attributes:
        rotated_batch_size: int. Images in the rotation loss per global batch, the
            upright ones included; a multiple of 4 x shares.
        d_weight: float. beta; 1 in the paper.
        g_weight: float. alpha; 0.2 in the paper.
        each_in_one: bool. False: the last images of the batch in all four orientations
            (compare_gan). True: the first quarter of the images upright, the next one
            turned once, and so on (mimicry).
        g_anneal_steps: int or None. alpha falls linearly, to 0 at this step; None keeps
            it.

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

    heads = {"rotation_logits": rotation.NUM_ROTATIONS}
    d_log_names = ("loss/rotation_real", "accuracy/rotation_real")
    g_log_names = ("loss/rotation_fake", "accuracy/rotation_fake")

    def __post_init__(self):
        size = self.rotated_batch_size
        if size < 4 or size % rotation.NUM_ROTATIONS:
            raise ValueError(
                "`rotated_batch_size` must be a positive multiple of 4: as many images "
                "are shown in each of four orientations. Received: "
                f"rotated_batch_size={size}. Choose a multiple of 4."
            )
        if self.g_anneal_steps is not None and self.g_anneal_steps < 1:
            raise ValueError(
                "`g_anneal_steps` must be a positive number of steps, or None. "
                f"Received: g_anneal_steps={self.g_anneal_steps}. None leaves alpha as "
                "it is."
            )

    @property
    def acts_on_d(self) -> bool:
        """Whether beta is not zero."""
        return self.d_weight != 0

    @property
    def acts_on_g(self) -> bool:
        """Whether alpha is not zero from the start."""
        return self.g_weight != 0

    def num_rotated(self, num_shares: int) -> int:
        """How many images of one share are shown in each orientation."""
        return self.rotated_batch_size // (rotation.NUM_ROTATIONS * num_shares)

    def check(self, batch_size, num_shares):
        size = self.rotated_batch_size
        divisor = rotation.NUM_ROTATIONS * num_shares
        if size % divisor:
            raise ValueError(
                "`rotated_batch_size` must be divisible by 4 x the number of shares, "
                "which is replicas x `options.accumulate`. Received: "
                f"rotated_batch_size={size}, shares={num_shares}. Choose a multiple of "
                f"{divisor}."
            )
        most = batch_size * (1 if self.each_in_one else rotation.NUM_ROTATIONS)
        if size > most * num_shares:
            factor = "" if self.each_in_one else "4 x "
            raise ValueError(
                f"`rotated_batch_size` must not exceed {factor}the batch size. "
                f"Received: rotated_batch_size={size}, "
                f"batch_size={batch_size * num_shares}. Lower it, or raise the "
                "batch size."
            )

    def extra_images(self, images, num_shares):
        self.check(images.shape[0], num_shares)
        return rotation.rotated_views(
            images, self.num_rotated(num_shares), self.each_in_one
        )

    def extra_labels(self, labels, num_shares):
        num = self.num_rotated(num_shares)
        return tf.concat(
            [rotation.chosen(labels, num, k, self.each_in_one) for k in (1, 2, 3)],
            axis=0,
        )

    def _turned(self, seen: Seen) -> tuple[tf.Tensor, tf.Tensor]:
        """Rotation logits of the images shown in each orientation, and the turns."""
        extra = seen.extra["rotation_logits"]
        num = extra.shape[0] // (rotation.NUM_ROTATIONS - 1)
        upright = rotation.chosen(
            seen.upright["rotation_logits"], num, 0, self.each_in_one
        )
        return tf.concat([upright, extra], axis=0), rotation.rotation_labels(num)

    def _alpha(self, step: tf.Tensor) -> tf.Tensor | float:
        if self.g_anneal_steps is None:
            return self.g_weight
        left = 1.0 - tf.cast(step, tf.float32) / self.g_anneal_steps
        return self.g_weight * tf.maximum(left, 0.0)

    def d_loss(self, real, fake, step):
        logits, rotations = self._turned(real)
        loss = rotation.rotation_loss(logits, rotations)
        return self.d_weight * loss, _logs("real", loss, logits, rotations)

    def g_loss(self, fake, step):
        logits, rotations = self._turned(fake)
        loss = rotation.rotation_loss(logits, rotations)
        return self._alpha(step) * loss, _logs("fake", loss, logits, rotations)


def _logs(side, loss, logits, rotations) -> dict[str, tf.Tensor]:
    return {
        f"loss/rotation_{side}": loss,
        f"accuracy/rotation_{side}": rotation.rotation_accuracy(logits, rotations),
    }


class MinimaxRotationTask(RotationTask):
    """SS-GAN-MS: the rotation head has a fifth class, for fakes.

        L_D = adversarial + beta  * (E_real[-log Q(r | x^r)] + E_fake[-log Q(4 | x^r)])
        L_G = adversarial + alpha * (E_fake[-log Q(r | x^r)] - E_fake[-log Q(4 | x^r)])

    A G whose images merely turn well no longer wins: they must be taken for turned real
    images. The two entropies of L_G share their normalizer, so the term, reported as
    `loss/rotation_fake`, is the mean of logit 4 less logit r: it may be negative.

    Reference:
        - Tran et al., 2019, https://arxiv.org/abs/1911.06997
    """

    heads = {"rotation_logits": rotation.NUM_ROTATIONS + 1}
    d_sees_fakes = True
    d_log_names = (*RotationTask.d_log_names, "loss/rotation_d_fake")

    def fake_classes(self, rotations: tf.Tensor) -> tf.Tensor:
        """The class that D is to give a fake turned so; int32, `(batch,)`."""
        return tf.fill(tf.shape(rotations), rotation.NUM_ROTATIONS)

    def d_loss(self, real, fake, step):
        loss, logs = super().d_loss(real, fake, step)
        logits, rotations = self._turned(fake)
        fake_loss = rotation.rotation_loss(logits, self.fake_classes(rotations))
        return (
            loss + self.d_weight * fake_loss,
            logs | {"loss/rotation_d_fake": fake_loss},
        )

    def g_loss(self, fake, step):
        logits, rotations = self._turned(fake)
        real_logit, fake_logit = (
            tf.gather(logits, classes, batch_dims=1)
            for classes in (rotations, self.fake_classes(rotations))
        )
        loss = tf.reduce_mean(fake_logit - real_logit)
        return self._alpha(step) * loss, _logs("fake", loss, logits, rotations)


class LabelAugmentedTask(MinimaxRotationTask):
    """SSGAN-LA: one eight-way head, {real, fake} x rotation, in place of both others.

        L_D = E_real[-log Q(r | x^r)] + E_fake[-log Q(4 + r | x^r)]
        L_G = E_fake[-log Q(r | x^r)] - E_fake[-log Q(4 + r | x^r)]

    Classes 0 to 3 are turns of real images, 4 to 7 of fakes. Meant to be used without
    an adversarial loss beside it, with weights 1.

    Reference:
        - Hou et al., 2021, section 4, https://arxiv.org/abs/2106.08601
    """

    heads = {"rotation_logits": 2 * rotation.NUM_ROTATIONS}

    def fake_classes(self, rotations):
        return rotation.NUM_ROTATIONS + rotations
