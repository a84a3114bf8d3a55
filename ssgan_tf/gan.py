"""The GAN: two networks, one train step, for one replica or many."""

import keras
import tensorflow as tf

from ssgan_tf import ema, rotation
from ssgan_tf.latents import TRAINING_STREAM, Latents
from ssgan_tf.losses import AdversarialLoss
from ssgan_tf.ssgan import RotationTask


class GAN(keras.Model):
    """A generator and a discriminator trained against each other, through `fit`.

    One train step is `d_steps` updates of D, each on a batch of its own, then one of
    G, which reuses the fakes of the last D update: one forward pass of G serves both.
    All that is random is a function of (seed, step), drawn for the global batch and
    sliced by replica: a step number is all that a resumed run needs, and the numbers
    do not depend on how many replicas share the work.

    Example:

        gan = GAN(generator, discriminator, latents=Latents(128))
        gan.compile(
            g_optimizer=keras.optimizers.Adam(2e-4, 0.0, 0.9, epsilon=1e-8),
            d_optimizer=keras.optimizers.Adam(2e-4, 0.0, 0.9, epsilon=1e-8),
            adversarial_loss=losses.Hinge(),
            rotation_task=RotationTask(rotated_batch_size=64),
        )
        gan.fit(dataset, steps_per_epoch=1000)

    Args:
        generator: `keras.Model`, latents `(batch, dim)` -> images in [0, 1].
        discriminator: `keras.Model`, images -> dict with `logits` (batch, 1) and, for
            the rotation task, `rotation_logits` (batch, 4).
        latents: `Latents`. Distribution of z.
        seed: int. Of the noise.
        average: None, or a second generator that follows the moving average of the
            first one's weights.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        latents: Latents,
        seed: int = 0,
        average: keras.Model | None = None,
    ):
        super().__init__(name="gan")
        self.generator = generator
        self.discriminator = discriminator
        self.latents = latents
        self.seed = seed
        self.average = average
        if average is not None:
            ema.update(average, generator, decay=0.0)

    def compile(
        self,
        *,
        g_optimizer: keras.optimizers.Optimizer,
        d_optimizer: keras.optimizers.Optimizer,
        adversarial_loss: AdversarialLoss,
        rotation_task: RotationTask | None = None,
        d_steps: int = 1,
        ema_decay: float = 0.9999,
        ema_start_step: int = 0,
        steps_per_execution: int = 1,
    ):
        """Says how to train.

        Args:
            g_optimizer: of the generator; its `iterations` are the step number.
            d_optimizer: of the discriminator.
            adversarial_loss: the pair of losses on the true/fake logit.
            rotation_task: None for a plain GAN.
            d_steps: int. Updates of D per update of G.
            ema_decay: float in [0, 1). Of the generator's average, if there is one.
            ema_start_step: int. Before it the average is the generator itself.
            steps_per_execution: int. Train steps per call from Python.

        Raises:
            ValueError: `d_steps` or `steps_per_execution` below 1; a rotation task
                for a discriminator without rotation head.
        """
        for name, value in (
            ("d_steps", d_steps),
            ("steps_per_execution", steps_per_execution),
        ):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
        if rotation_task is not None and self.discriminator.rotation_head is None:
            raise ValueError(
                "The rotation task needs a discriminator with a rotation head. "
                "Received: a discriminator without one. Build it with "
                "rotation_head=True."
            )
        # Keras's own optimizer stays unset: it would be a third one, never used.
        super().compile(
            optimizer=None, loss=None, steps_per_execution=steps_per_execution
        )
        self.g_optimizer = g_optimizer
        self.d_optimizer = d_optimizer
        self.adversarial_loss = adversarial_loss
        self.rotation_task = rotation_task
        self.d_steps = d_steps
        self.ema_decay = ema_decay
        self.ema_start_step = ema_start_step
        # Variables cannot be made inside a replica's step.
        g_optimizer.build(self.generator.trainable_variables)
        d_optimizer.build(self.discriminator.trainable_variables)
        self.built = True

    @property
    def step(self) -> int:
        """Generator steps taken so far; not for use inside a step."""
        # A variable with a copy on every replica has no `int()`.
        return int(self.g_optimizer.iterations.numpy())

    @property
    def sampler(self) -> keras.Model:
        """The generator to sample from: the average where one is kept."""
        return self.generator if self.average is None else self.average

    @property
    def log_names(self) -> list[str]:
        """Names of the scalars that a train step reports."""
        names = ["loss/d", "loss/g", "logits/real", "logits/fake"]
        if self.rotation_task is not None:
            for side in ("real", "fake"):
                names += [f"loss/rotation_{side}", f"accuracy/rotation_{side}"]
        return names

    def train_step(self, data):
        """`d_steps` updates of D, then one of G, on one replica's share.

        Args:
            data: `(images, labels)` or images: `(d_steps * share, size, size,
                channels)`, uint8 in [0, 255] or float32 in [0, 1]. Piece j of
                `d_steps` equal pieces belongs to the j-th update of D.

        Returns:
            dict of scalars, one for each of `log_names`: means over this replica's
            share and over the D updates, losses with their weights in `loss/d` and
            `loss/g` alone.

        Raises:
            ValueError: the images have another dtype, no static shape, or do not
                divide into `d_steps` batches.
        """
        images = tf.convert_to_tensor(data[0] if isinstance(data, tuple) else data)
        self._check_images(images)
        if images.dtype == tf.uint8:
            images = tf.cast(images, tf.float32) / 255.0
        d_logs = []
        for d_step, real_images in enumerate(tf.split(images, self.d_steps)):
            latents = self._draw_latents(real_images.shape[0], d_step)
            with tf.GradientTape(watch_accessed_variables=False) as g_tape:
                if d_step == self.d_steps - 1:
                    g_tape.watch([v.value for v in self.generator.trainable_variables])
                fake_images = self.generator(latents, training=True)
            d_logs.append(self._update_discriminator(real_images, fake_images))
        logs = {
            name: tf.add_n([log[name] for log in d_logs]) / self.d_steps
            for name in d_logs[0]
        }
        logs |= self._update_generator(fake_images, g_tape)
        return logs

    def _check_images(self, images: tf.Tensor) -> None:
        if images.dtype not in (tf.uint8, tf.float32):
            raise ValueError(
                "Images must be uint8 in [0, 255] or float32 in [0, 1]. Received: "
                f"images.dtype={images.dtype.name}. Cast them."
            )
        if images.shape.rank != 4 or None in images.shape:
            raise ValueError(
                "Images must have a static shape (d_steps * batch, size, size, "
                f"channels). Received: images.shape={images.shape}. Batch them with "
                "drop_remainder=True."
            )
        if images.shape[0] % self.d_steps:
            raise ValueError(
                "A batch must hold the images of all `d_steps` updates of D. Received: "
                f"{images.shape[0]} images, d_steps={self.d_steps}. Choose a multiple."
            )

    def _draw_latents(self, batch_size: int, d_step: int) -> tf.Tensor:
        """This replica's slice of the global batch of noise."""
        replica = tf.distribute.get_replica_context()
        draw = self._step_tensor() * self.d_steps + d_step
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant([self.seed, TRAINING_STREAM], tf.int64), draw, alg="philox"
        )
        replicas = replica.num_replicas_in_sync
        latents = self.latents.sample(batch_size * replicas, seed)
        # Dealt out like the real images: the last rows of all the shares are the last
        # rows of the batch, so the same images are rotated for any number of replicas.
        dealt = tf.reshape(latents, [batch_size, replicas, self.latents.dim])
        return tf.gather(dealt, replica.replica_id_in_sync_group, axis=1)

    def _step_tensor(self) -> tf.Tensor:
        """Generator steps taken so far, read now.

        `tf.cast` alone would return the variable itself where no cast is needed, to
        be read after the update that counts it up.
        """
        return tf.cast(
            tf.convert_to_tensor(self.g_optimizer.iterations.value), tf.int64
        )

    def _shown(self, images: tf.Tensor) -> tuple[tf.Tensor, int]:
        """The images as D sees them, and how many of them it sees turned."""
        if self.rotation_task is None:
            return images, 0
        num_rotated = self.rotation_task.num_rotated(
            images.shape[0], self._num_replicas()
        )
        return rotation.append_rotated(images, num_rotated), num_rotated

    def _num_replicas(self) -> int:
        return tf.distribute.get_replica_context().num_replicas_in_sync

    def _update_discriminator(self, real_images, fake_images) -> dict[str, tf.Tensor]:
        # One pass over real, rotated real and fake images: one power iteration.
        # Rotated fakes play no part in D's loss.
        batch_size = real_images.shape[0]
        shown, num_rotated = self._shown(real_images)
        images = tf.stop_gradient(tf.concat([shown, fake_images], axis=0))
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self.discriminator(images, training=True)
            real_logits = outputs["logits"][:batch_size]
            fake_logits = outputs["logits"][-batch_size:]
            loss = self.adversarial_loss.d_loss(real_logits, fake_logits)
            logs = {
                "logits/real": tf.reduce_mean(real_logits),
                "logits/fake": tf.reduce_mean(fake_logits),
            }
            if self.rotation_task is not None:
                rotation_loss, accuracy = self.rotation_task.loss_and_accuracy(
                    outputs["rotation_logits"][:-batch_size], num_rotated
                )
                loss += self.rotation_task.d_weight * rotation_loss
                logs["loss/rotation_real"] = rotation_loss
                logs["accuracy/rotation_real"] = accuracy
            # Optimizers add the gradients of the replicas up.
            scaled_loss = loss / self._num_replicas()
        gradients = tape.gradient(scaled_loss, variables)
        self.d_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return logs | {"loss/d": loss}

    def _update_generator(self, fake_images, g_tape) -> dict[str, tf.Tensor]:
        # The gradient stops at the images first: D's weights need none here.
        logs = {}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fake_images)
            shown, num_rotated = self._shown(fake_images)
            outputs = self.discriminator(shown, training=True)
            loss = self.adversarial_loss.g_loss(
                outputs["logits"][: fake_images.shape[0]]
            )
            if self.rotation_task is not None:
                rotation_loss, accuracy = self.rotation_task.loss_and_accuracy(
                    outputs["rotation_logits"], num_rotated
                )
                loss += self.rotation_task.g_weight * rotation_loss
                logs["loss/rotation_fake"] = rotation_loss
                logs["accuracy/rotation_fake"] = accuracy
            scaled_loss = loss / self._num_replicas()
        variables = self.generator.trainable_variables
        gradients = g_tape.gradient(
            fake_images,
            [v.value for v in variables],
            output_gradients=tape.gradient(scaled_loss, fake_images),
        )
        step = self._step_tensor()
        self.g_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self.average is not None:
            decay = self.ema_decay * tf.cast(step >= self.ema_start_step, tf.float32)
            ema.update(self.average, self.generator, decay)
        return logs | {"loss/g": loss}

    def make_train_function(self, force: bool = False):
        """Compiles `steps_per_execution` train steps on all replicas into one call.

        Keras's own loop works neither with several steps per execution under
        MirroredStrategy nor with scalar logs under MultiWorkerMirroredStrategy.
        The logs are means over the replicas and over the steps of one call, so a
        NaN in any step shows.
        """
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy
        num_steps = self.steps_per_execution

        @tf.function
        def train_function(iterator):
            totals = {name: tf.zeros([]) for name in self.log_names}
            for _ in tf.range(num_steps):
                logs = strategy.run(self.train_step, args=(next(iterator),))
                # A new dict: the loop must see the name assigned to carry it.
                totals = {
                    name: total + strategy.reduce("MEAN", logs[name], axis=None)
                    for name, total in totals.items()
                }
            return {name: total / num_steps for name, total in totals.items()}

        self.train_function = train_function
