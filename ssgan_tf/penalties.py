"""Gradient and weight penalties: terms of D's loss, without their weight.

A penalty is computed in two steps, because the second may run inside a `tf.cond` (lazy
regularization), where replicas must not communicate:

    noise = uniform [0, 1) numbers of the shape `penalty.noise_shape(...)`
    points = penalty.points(real_images, fake_images, noise)
    loss += weight * penalty.value(discriminator, points, labels)

Gradients are those of D's true/fake logit for upright images. D is called with
`training=False`, so the spectral-norm vectors do not advance.
"""

import abc
from collections.abc import Callable

import tensorflow as tf

from ssgan_tf.latents import as_arguments
from ssgan_tf.layers.batch_norm import cross_replica_moments

# Added under the square root, whose gradient at 0 is infinite; compare_gan's value.
EPSILON = 1e-4


class Penalty(abc.ABC):
    """A penalty on D; subclass it to add one."""

    def noise_shape(self, images_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Shape of the random numbers that `points` needs.

        Args:
            images_shape: `(batch, size, size, channels)`, static.

        Returns:
            A shape whose first axis is the batch, so that numbers drawn for a global
            batch can be dealt to replicas; None for a penalty without noise.
        """
        return None

    def points(
        self,
        real_images: tf.Tensor,
        fake_images: tf.Tensor,
        noise: tf.Tensor | None,
    ) -> tf.Tensor:
        """The images at which the penalty evaluates D.

        Collective: call it on all replicas.

        Args:
            real_images: float, `(batch, size, size, channels)`, in [0, 1].
            fake_images: the same, G's samples.
            noise: uniform in [0, 1), of shape `noise_shape(real_images.shape)`; None
                if that is None.

        Returns:
            Images, of the shape of `real_images`; by default `real_images`.
        """
        return real_images

    @abc.abstractmethod
    def value(self, discriminator, points: tf.Tensor, labels) -> tf.Tensor:
        """The penalty, without its weight and without communication.

        Args:
            discriminator: `discriminator(images, labels, training=False)` is a dict
                with `logits`, `(batch, 1)`; called without `labels` if they are None.
            points: the result of `points`.
            labels: int32, `(batch,)`, labels of the real images; None for an
                unconditional D.

        Returns:
            Scalar, the mean over this replica's images; differentiable with respect
            to D's weights.
        """


def lazy(value: Callable[[], tf.Tensor], update: tf.Tensor, interval: int) -> tf.Tensor:
    """Lazy regularization: a penalty that acts on every `interval`-th update of D.

    Args:
        value: computes the penalty, a scalar.
        update: int64 scalar. Number of D's updates before this one.
        interval: int. 1 for every update.

    Returns:
        `interval * value()` on updates 0, `interval`, 2 `interval`, ..., otherwise 0.

    Reference:
        - Karras et al., 2020, section 3, https://arxiv.org/abs/1912.04958
    """
    if interval == 1:
        return value()
    due = update % interval == 0
    return tf.cond(due, lambda: interval * value(), lambda: tf.zeros([]))


class _GradientPenalty(Penalty):
    """A function of |grad D|^2, the squared norm of the logit's gradient per image."""

    def target(self, squared_norms: tf.Tensor) -> tf.Tensor:
        """The penalty, a scalar, from the squared norms, `(batch,)`: slope 1."""
        slopes = tf.sqrt(EPSILON + squared_norms)
        return tf.reduce_mean(tf.square(slopes - 1.0))

    def value(self, discriminator, points, labels):
        points = tf.convert_to_tensor(points)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            outputs = discriminator(points, *as_arguments(labels), training=False)
        # The gradient of the sum is that of every logit: each depends on one image.
        gradients = tape.gradient(outputs["logits"], points)
        return self.target(tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3]))


class WganGP(_GradientPenalty):
    """Slope 1 on the lines between real and fake images: "GP" in the paper's table 2.

        points = real + t (fake - real),   t ~ U[0, 1), one per image
        E[(sqrt(1e-4 + |grad D(points)|^2) - 1)^2]

    0.980 for a constant D. The weight is 10 in Gulrajani et al., 1 or 10 in the paper.

    Reference:
        - Gulrajani et al., 2017, equation 3, https://arxiv.org/abs/1704.00028
    """

    def noise_shape(self, images_shape):
        return (images_shape[0], 1, 1, 1)

    def points(self, real_images, fake_images, noise):
        return real_images + noise * (fake_images - real_images)


class Dragan(_GradientPenalty):
    """Slope 1 around the real images.

        points = clip(real + std (noise - 1/2), 0, 1),   noise ~ U[0, 1) per number
        E[(sqrt(1e-4 + |grad D(points)|^2) - 1)^2]

    std is the biased standard deviation of all numbers in the global batch of real
    images. The form of the noise and the clipping are compare_gan's.

    Reference:
        - Kodali et al., 2017, https://arxiv.org/abs/1705.07215
    """

    def noise_shape(self, images_shape):
        return tuple(images_shape)

    def points(self, real_images, fake_images, noise):
        _, variance = cross_replica_moments(real_images, axes=[0, 1, 2, 3])
        moved = real_images + tf.sqrt(variance) * (noise - 0.5)
        return tf.clip_by_value(moved, 0.0, 1.0)


class R1(_GradientPenalty):
    """Slope 0 at the real images.

        E[|grad D(real)|^2] / 2

    The weight is gamma in the paper below, 10 there.

    Reference:
        - Mescheder et al., 2018, equation 9, https://arxiv.org/abs/1801.04406
    """

    def target(self, squared_norms):
        return 0.5 * tf.reduce_mean(squared_norms)


class L2(Penalty):
    """Half the squared norm of a kernel, the mean over D's kernels.

        mean over kernels W of sum(W^2) / 2

    Kernels are the trainable variables of rank 2 or more: those of convolutions, dense
    layers and class embeddings. The mean instead of the sum is compare_gan's.
    """

    def value(self, discriminator, points, labels):
        kernels = [v for v in discriminator.trainable_variables if len(v.shape) >= 2]
        return tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels]) / len(kernels)
