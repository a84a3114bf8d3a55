"""The train step of an SS-GAN without optimizations: the baseline for speed.

The same mathematics as `GAN.train_step`, without its rewrites. Real, rotated real, fake
and rotated fake images all pass through D in both updates, as in compare_gan. Zeros are
inserted before a convolution, and means are taken after one. Batch normalization
computes moments, a root and a product. As in ours, both updates share one pass of G.
"""

import contextlib

import tensorflow as tf

from ssgan_tf import rotation
from ssgan_tf.gan import GAN, Step
from ssgan_tf.layers import batch_norm, resampling
from ssgan_tf.randomness import Share


def _upsample_conv(images, kernel):
    return resampling.conv(resampling.insert_zeros(images), kernel)


def _conv_downsample(images, kernel):
    return resampling.average_pool(resampling.conv(images, kernel))


def _standardize(layer, inputs, gain, bias):
    mean, variance = tf.nn.moments(inputs, list(range(inputs.shape.rank - 1)))
    layer._store(mean, variance)
    return tf.nn.batch_normalization(inputs, mean, variance, bias, gain, layer.epsilon)


@contextlib.contextmanager
def forms():
    """Within this context layers that are called or traced take their plain forms."""
    convs, fused = dict(resampling.RESAMPLED_CONVS), batch_norm._BatchNorm._fused
    resampling.RESAMPLED_CONVS.update(up=_upsample_conv, down=_conv_downsample)
    batch_norm._BatchNorm._fused = _standardize
    try:
        yield
    finally:
        resampling.RESAMPLED_CONVS.update(convs)
        batch_norm._BatchNorm._fused = fused


def step(gan: GAN, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """One step on one replica for an unconditional GAN with at most one rotation task.

    Args:
        gan: compiled; updated in place.
        images: uint8, `(d_steps * batch, size, size, channels)`.

    Returns:
        dict with `loss/d`, of the last update, and `loss/g`.

    Raises:
        ValueError: the GAN has a part that the plain step lacks.
    """
    tasks = [type(task).__name__ for task in gan.tasks]
    extras = gan.num_classes or gan.penalty or gan.augmentation or gan.average
    if extras or tasks not in ([], ["RotationTask"]) or not gan.adversarial_loss:
        raise ValueError(
            "The plain step takes an SS-GAN or a plain GAN without labels, penalty, "
            f"augmentation and average. Received: tasks={tasks}."
        )
    real = tf.cast(images, tf.float32) / 255.0
    batch_size = real.shape[0] // gan.d_steps
    d_variables = gan.discriminator.trainable_variables
    g_variables = gan.generator.trainable_variables
    for d_step, real_images in enumerate(tf.split(real, gan.d_steps)):
        latents = Step(gan, Share(0, 1)).latents(batch_size, d_step)
        with tf.GradientTape(watch_accessed_variables=False) as g_tape:
            g_tape.watch([v.value for v in g_variables])
            fake_images = gan.generator(latents, training=True)
            with tf.GradientTape() as d_tape, g_tape.stop_recording():
                d_loss, _ = _losses(gan, real_images, tf.stop_gradient(fake_images))
            with g_tape.stop_recording():
                gradients = d_tape.gradient(d_loss, [v.value for v in d_variables])
                gan.d_optimizer.apply_gradients(
                    zip(gradients, d_variables, strict=True)
                )
            if d_step == gan.d_steps - 1:
                _, g_loss = _losses(gan, real_images, fake_images)
    gradients = g_tape.gradient(g_loss, [v.value for v in g_variables])
    gan.g_optimizer.apply_gradients(zip(gradients, g_variables, strict=True))
    return {"loss/d": d_loss, "loss/g": g_loss}


def _losses(gan: GAN, real_images: tf.Tensor, fake_images: tf.Tensor):
    """Both players' losses, from one pass of all images through D."""
    task = gan.tasks[0] if gan.tasks else None
    batch_size = real_images.shape[0]

    def with_rotations(batch):
        if task is None:
            return batch
        rotated = rotation.rotated_views(batch, task.num_rotated(1), task.each_in_one)
        return tf.concat([batch, rotated], axis=0)

    images = tf.concat(
        [with_rotations(real_images), with_rotations(fake_images)], axis=0
    )
    outputs = gan.discriminator(images, training=True)
    real_logits, fake_logits = (
        half[:batch_size] for half in tf.split(outputs["logits"], 2)
    )
    d_loss = gan.adversarial_loss.d_loss(real_logits, fake_logits)
    g_loss = gan.adversarial_loss.g_loss(fake_logits)
    if task is None:
        return d_loss, g_loss

    num = task.num_rotated(1)
    labels = rotation.rotation_labels(num)

    def rotation_loss(logits):
        upright = rotation.chosen(logits[:batch_size], num, 0, task.each_in_one)
        rotated = tf.concat([upright, logits[batch_size:]], axis=0)
        return rotation.rotation_loss(rotated, labels)

    real_rotations, fake_rotations = tf.split(outputs["rotation_logits"], 2)
    d_loss += task.d_weight * rotation_loss(real_rotations)
    g_loss += task.g_weight * rotation_loss(fake_rotations)
    return d_loss, g_loss
