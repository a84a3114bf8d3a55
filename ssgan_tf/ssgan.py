"""The rotation task as a part that is added to a GAN."""

import dataclasses

import tensorflow as tf

from ssgan_tf import rotation


@dataclasses.dataclass(frozen=True)
class RotationTask:
    """Rotation losses of both players: SS-GAN, sections 3.1 and 3.2.

        L_D = adversarial + beta  * rotation_loss(real images)
        L_G = adversarial + alpha * rotation_loss(fake images)

    The last `rotated_batch_size / 4` images of the batch (of each replica's share,
    under several replicas) are shown in all four orientations. D never learns
    rotation from fakes, nor G from reals.

    Attributes:
        rotated_batch_size: int. Images in the rotation loss per global batch, the
            upright ones included; a multiple of 4 x replicas.
        d_weight: float. beta; 1 in the paper.
        g_weight: float. alpha; 0.2 in the paper.

    Raises:
        ValueError: `rotated_batch_size` is not a positive multiple of 4.

    Reference:
        - Chen et al., 2019, https://arxiv.org/abs/1811.11212
    """

    rotated_batch_size: int
    d_weight: float = 1.0
    g_weight: float = 0.2

    def __post_init__(self):
        size = self.rotated_batch_size
        if size < 4 or size % rotation.NUM_ROTATIONS:
            raise ValueError(
                "`SSGAN.rotated_batch_size` must be a positive multiple of 4: each "
                "chosen image is shown in four orientations. Received: "
                f"rotated_batch_size={size}."
            )

    def num_rotated(self, batch_size: int, num_replicas: int) -> int:
        """How many images of one replica's share are shown in every orientation.

        Args:
            batch_size: int. Images in one replica's share.
            num_replicas: int.

        Raises:
            ValueError: the share is not whole, or larger than the batch.
        """
        num, rest = divmod(
            self.rotated_batch_size, rotation.NUM_ROTATIONS * num_replicas
        )
        if rest:
            raise ValueError(
                "`SSGAN.rotated_batch_size` must be divisible by 4 x the number of "
                f"replicas. Received: rotated_batch_size={self.rotated_batch_size}, "
                f"replicas={num_replicas}. Choose a multiple of "
                f"{rotation.NUM_ROTATIONS * num_replicas}."
            )
        if num > batch_size:
            raise ValueError(
                "`SSGAN.rotated_batch_size` must not exceed 4 x the batch size. "
                f"Received: rotated_batch_size={self.rotated_batch_size}, "
                f"batch_size={batch_size * num_replicas}."
            )
        return num

    def loss_and_accuracy(
        self, rotation_logits: tf.Tensor, num_rotated: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss and accuracy on the last `4 * num_rotated` rows of a batch.

        Args:
            rotation_logits: `(batch + 3 * num_rotated, 4)`, D's output on
                `rotation.append_rotated(images, num_rotated)`.
            num_rotated: int.

        Returns:
            `(loss, accuracy)`, scalars; the loss in nats, without its weight.
        """
        logits = rotation_logits[-rotation.NUM_ROTATIONS * num_rotated :]
        labels = rotation.rotation_labels(num_rotated)
        return (
            rotation.rotation_loss(logits, labels),
            rotation.rotation_accuracy(logits, labels),
        )
