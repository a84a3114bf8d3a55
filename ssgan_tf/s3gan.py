"""Few labels: D learns to predict the class of the images that have none."""

import tensorflow as tf

from ssgan_tf.tasks import Task


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
