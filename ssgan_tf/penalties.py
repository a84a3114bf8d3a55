"""Gradient and weight penalties: what is added to D's loss, before its weight.

A penalty comes in two steps, since the second one may run under a `tf.cond` (lazy
regularization), where replicas must not exchange anything:

    noise = uniform [0, 1) numbers of the shape `penalty.noise_shape(...)`
    points = penalty.points(real_images, fake_images, noise)
    loss += weight * penalty.value(discriminator, points, labels)

Gradients are those of D's true/fake logit, on upright images. D is called with
`training=False`: the spectral-norm vectors take their one iteration from where they
are, and stay there.
"""

import abc

import tensorflow as tf

from ssgan_tf.latents import as_arguments
from ssgan_tf.layers.batch_norm import cross_replica_moments

# Under the root of the slope: the gradient of sqrt at 0 is infinite. compare_gan's.
EPSILON = 1e-4


class Penalty(abc.ABC):
    """A penalty on D; subclass it to add one."""

    def noise_shape(self, images_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Shape of the random numbers that `points` needs.

        Args:
            images_shape: `(batch, size, size, channels)`, static.

        Returns:
            A shape whose first axis is the batch, so that numbers drawn for a global
            batch can be dealt to replicas; None where nothing is random.
        """
        return None

    def points(
        self,
        real_images: tf.Tensor,
        fake_images: tf.Tensor,
        noise: tf.Tensor | None,
    ) -> tf.Tensor:
        """Where D is looked at; all replicas must call this together.

        Args:
            real_images: float, `(batch, size, size, channels)`, in [0, 1].
            fake_images: the same, G's samples.
            noise: uniform in [0, 1), of `noise_shape(real_images.shape)`; None where
                that is None.

        Returns:
            Images, of the shape of `real_images`: those themselves unless a subclass
            says otherwise.
        """
        return real_images

    @abc.abstractmethod
    def value(self, discriminator, points: tf.Tensor, labels) -> tf.Tensor:
        """The penalty, without its weight; exchanges nothing between replicas.

        Args:
            discriminator: `discriminator(images, labels, training=False)` is a dict
                with `logits`, `(batch, 1)`; called without `labels` where they are
                None.
            points: what `points` returned.
            labels: int32, `(batch,)`, those of the real images; None for an
                unconditional D.

        Returns:
            Scalar, the mean over this replica's images; differentiable with respect
            to D's weights.
        """


class _GradientPenalty(Penalty):
    """A function of |grad D|^2, the squared norm of the logit's gradient per image."""

    @abc.abstractmethod
    def target(self, squared_norms: tf.Tensor) -> tf.Tensor:
        """The penalty, a scalar, from the squared norms, `(batch,)`."""

    def value(self, discriminator, points, labels):
        points = tf.convert_to_tensor(points)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            logits = discriminator(points, *as_arguments(labels), training=False)[
                "logits"
            ]
        # The gradient of the sum: no logit depends on another image.
        gradients = tape.gradient(logits, points)
        return self.target(tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3]))


def _deviation_from_slope_one(squared_norms: tf.Tensor) -> tf.Tensor:
    slopes = tf.sqrt(EPSILON + squared_norms)
    return tf.reduce_mean(tf.square(slopes - 1.0))


class WganGP(_GradientPenalty):
    """Slope 1 on the lines between real and fake images: "GP" in the paper's table 2.

        points = real + t (fake - real),   t ~ U[0, 1), one per image
        E[(sqrt(1e-4 + |grad D(points)|^2) - 1)^2]

    0.980 where D is flat. The weight is 10 in Gulrajani et al., 1 or 10 in the paper.

    Reference:
        - Gulrajani et al., 2017, equation 3, https://arxiv.org/abs/1704.00028
    """

    def noise_shape(self, images_shape):
        return (images_shape[0], 1, 1, 1)

    def points(self, real_images, fake_images, noise):
        return real_images + noise * (fake_images - real_images)

    def target(self, squared_norms):
        return _deviation_from_slope_one(squared_norms)


class Dragan(_GradientPenalty):
    """Slope 1 around the real images.

        points = clip(real + std (noise - 1/2), 0, 1),   noise ~ U[0, 1) per number
        E[(sqrt(1e-4 + |grad D(points)|^2) - 1)^2]

    std is the standard deviation of all numbers of the global batch of real images,
    biased. The form of the noise and the clipping are compare_gan's.

    Reference:
        - Kodali et al., 2017, https://arxiv.org/abs/1705.07215
    """

    def noise_shape(self, images_shape):
        return tuple(images_shape)

    def points(self, real_images, fake_images, noise):
        _, variance = cross_replica_moments(real_images, axes=[0, 1, 2, 3])
        moved = real_images + tf.sqrt(variance) * (noise - 0.5)
        return tf.clip_by_value(moved, 0.0, 1.0)

    def target(self, squared_norms):
        return _deviation_from_slope_one(squared_norms)


class R1(_GradientPenalty):
    """Slope 0 at the real images.

        E[|grad D(real)|^2] / 2

    With the half inside, the weight is the gamma of the paper below, 10 there.

    Reference:
        - Mescheder et al., 2018, equation 9, https://arxiv.org/abs/1801.04406
    """

    def target(self, squared_norms):
        return 0.5 * tf.reduce_mean(squared_norms)


class L2(Penalty):
    """Half the squared norm of a kernel, the mean over D's kernels.

        mean over kernels W of sum(W^2) / 2

    A kernel is a trainable variable of rank 2 or more: of convolutions, dense layers
    and class embeddings. Biases and gains have rank 1, spectral-norm vectors are not
    trainable. The mean, not the sum, is compare_gan's.
    """

    def value(self, discriminator, points, labels):
        kernels = [v for v in discriminator.trainable_variables if len(v.shape) >= 2]
        return tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels]) / len(kernels)
