"""The train step of an SS-GAN as one would write it down: what speed is measured by.

The same mathematics as `GAN.train_step`, without its rewrites: real, rotated real, fake
and rotated fake images all go through D in both updates, as in compare_gan; zeros are
inserted before a convolution and means taken after one; batch normalization is made of
moments, a root and a product. One forward pass of G serves both updates, here too.
"""

import contextlib

import tensorflow as tf

from ssgan_tf import rotation
from ssgan_tf.gan import GAN
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
    """Layers that are called, or traced, within take their plain forms."""
    convs, fused = dict(resampling.RESAMPLED_CONVS), batch_norm._BatchNorm._fused
    resampling.RESAMPLED_CONVS.update(up=_upsample_conv, down=_conv_downsample)
    batch_norm._BatchNorm._fused = _standardize
    try:
        yield
    finally:
        resampling.RESAMPLED_CONVS.update(convs)
        batch_norm._BatchNorm._fused = fused


def step(gan: GAN, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """One step on one replica, of an unconditional GAN with one rotation task or none.

    Args:
        gan: compiled. Changed.
        images: uint8, `(d_steps * batch, size, size, channels)`.

    Returns:
        dict of `loss/d`, of the last update, and `loss/g`.

    Raises:
        ValueError: the GAN has what is not written down here.
    """
    tasks = [type(task).__name__ for task in gan.tasks]
    extras = gan.num_classes or gan.penalty or gan.augmentation or gan.average
    if extras or tasks not in ([], ["RotationTask"]) or not gan.adversarial_loss:
        raise ValueError(
            "The plain step must be one of an SS-GAN or of a plain GAN without labels, "
            f"penalty, augmentation and average. Received: tasks={tasks}."
        )
    task = gan.tasks[0] if tasks else None
    real = tf.cast(images, tf.float32) / 255.0
    batch_size = real.shape[0] // gan.d_steps

    def shown(batch):
        if task is None:
            return batch
        turned = rotation.rotated_views(batch, task.num_rotated(1), task.each_in_one)
        return tf.concat([batch, turned], axis=0)

    def losses(real_images, fake_images):
        seen = tf.concat([shown(real_images), shown(fake_images)], axis=0)
        outputs = gan.discriminator(seen, training=True)
        real_logits, fake_logits = (
            half[:batch_size] for half in tf.split(outputs["logits"], 2)
        )
        d_loss = gan.adversarial_loss.d_loss(real_logits, fake_logits)
        g_loss = gan.adversarial_loss.g_loss(fake_logits)
        if task is not None:
            num = task.num_rotated(1)
            labels = rotation.rotation_labels(num)
            of_real, of_fake = (
                tf.concat(
                    [
                        rotation.chosen(half[:batch_size], num, 0, task.each_in_one),
                        half[batch_size:],
                    ],
                    axis=0,
                )
                for half in tf.split(outputs["rotation_logits"], 2)
            )
            d_loss += task.d_weight * rotation.rotation_loss(of_real, labels)
            g_loss += task.g_weight * rotation.rotation_loss(of_fake, labels)
        return d_loss, g_loss

    d_variables = gan.discriminator.trainable_variables
    g_variables = gan.generator.trainable_variables
    for d_step, real_images in enumerate(tf.split(real, gan.d_steps)):
        latents = gan._draw_latents(batch_size, d_step, Share(0, 1))
        with tf.GradientTape(watch_accessed_variables=False) as g_tape:
            g_tape.watch([v.value for v in g_variables])
            fake_images = gan.generator(latents, training=True)
            with tf.GradientTape() as d_tape, g_tape.stop_recording():
                d_loss, _ = losses(real_images, tf.stop_gradient(fake_images))
            with g_tape.stop_recording():
                gradients = d_tape.gradient(d_loss, [v.value for v in d_variables])
                gan.d_optimizer.apply_gradients(
                    zip(gradients, d_variables, strict=True)
                )
            if d_step == gan.d_steps - 1:
                _, g_loss = losses(real_images, fake_images)
    gradients = g_tape.gradient(g_loss, [v.value for v in g_variables])
    gan.g_optimizer.apply_gradients(zip(gradients, g_variables, strict=True))
    return {"loss/d": d_loss, "loss/g": g_loss}
