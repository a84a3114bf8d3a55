"""Adversarial losses: pairs of formulas for D and G on the true/fake logits.

`real` and `fake` are D's logits, `(batch, 1)`. The results are scalars, means over the
batch.
"""

import abc

import tensorflow as tf


class AdversarialLoss(abc.ABC):
    """A pair of losses; subclass it to add one."""

    @abc.abstractmethod
    def d_loss(self, real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
        """The discriminator's loss, a scalar."""

    @abc.abstractmethod
    def g_loss(self, fake_logits: tf.Tensor) -> tf.Tensor:
        """The generator's loss, a scalar."""


class Hinge(AdversarialLoss):
    """The hinge loss, the paper's choice.

        L_D = E[max(0, 1 - real)] + E[max(0, 1 + fake)]
        L_G = -E[fake]

    L_D is 2 if all logits are 0.

    Reference:
        - Lim and Ye, 2017, https://arxiv.org/abs/1705.02894
        - Miyato et al., 2018, equations 16 and 17, https://arxiv.org/abs/1802.05957
    """

    def d_loss(self, real_logits, fake_logits):
        return tf.reduce_mean(tf.nn.relu(1.0 - real_logits)) + tf.reduce_mean(
            tf.nn.relu(1.0 + fake_logits)
        )

    def g_loss(self, fake_logits):
        return -tf.reduce_mean(fake_logits)


class NonSaturating(AdversarialLoss):
    """The non-saturating logistic loss.

        L_D = -E[log s(real)] - E[log(1 - s(fake))],    s = sigmoid
        L_G = -E[log s(fake)]

    In nats; L_D is 2 log 2 = 1.386 if all logits are 0.

    Reference:
        - Goodfellow et al., 2014, section 3, https://arxiv.org/abs/1406.2661
    """

    def d_loss(self, real_logits, fake_logits):
        return tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(
            tf.nn.softplus(fake_logits)
        )

    def g_loss(self, fake_logits):
        return tf.reduce_mean(tf.nn.softplus(-fake_logits))


class Wasserstein(AdversarialLoss):
    """The Wasserstein critic's loss.

        L_D = E[fake] - E[real]
        L_G = -E[fake]

    Reference:
        - Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875
    """

    def d_loss(self, real_logits, fake_logits):
        return tf.reduce_mean(fake_logits) - tf.reduce_mean(real_logits)

    def g_loss(self, fake_logits):
        return -tf.reduce_mean(fake_logits)


class LeastSquares(AdversarialLoss):
    """Least squares on D's probabilities, as in compare_gan.

        L_D = (E[(s(real) - 1)^2] + E[s(fake)^2]) / 2,    s = sigmoid
        L_G = E[(s(fake) - 1)^2] / 2

    Mao et al. use no sigmoid. compare_gan does, and it is our reference.

    Reference:
        - Mao et al., 2017, equation 9, https://arxiv.org/abs/1611.04076
    """

    def d_loss(self, real_logits, fake_logits):
        return 0.5 * (
            tf.reduce_mean(tf.square(tf.sigmoid(real_logits) - 1.0))
            + tf.reduce_mean(tf.square(tf.sigmoid(fake_logits)))
        )

    def g_loss(self, fake_logits):
        return 0.5 * tf.reduce_mean(tf.square(tf.sigmoid(fake_logits) - 1.0))
