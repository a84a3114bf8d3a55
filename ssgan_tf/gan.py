"""The GAN: two networks, one train step, for one replica or many."""

import numbers
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ssgan_tf import optimizers
from ssgan_tf.augmentation import Augmentation
from ssgan_tf.latents import Latents, as_arguments, draw_labels, num_classes_of
from ssgan_tf.losses import AdversarialLoss
from ssgan_tf.penalties import Penalty
from ssgan_tf.randomness import (
    AUGMENTATION_STREAM,
    NUM_STREAMS,
    PENALTY_STREAM,
    TRAINING_LABELS_STREAM,
    TRAINING_STREAM,
    Share,
    deal,
    uniform,
)
from ssgan_tf.tasks import (
    DiscriminatorOutputs,
    Task,
    inputs_for_tasks,
    run_discriminator,
)


class Fakes(NamedTuple):
    """What G makes for one update.

    Attributes:
        images: float32 in [0, 1], `(batch, size, size, channels)`.
        labels: int32, `(batch,)`; None for an unconditional GAN.
        tape: the recorded pass through G; of nothing where G's weights were not
            watched.
    """

    images: tf.Tensor
    labels: tf.Tensor | None
    tape: tf.GradientTape


class Diverged(ValueError):
    """A loss or a weight is no longer a finite number."""


_CURE = (
    "Lower the learning rates or look at the data; with "
    'run_config.on_nan = "rollback" a run goes back to its last checkpoint and takes '
    "other noise from there."
)


class GAN(keras.Model):
    """A generator and a discriminator trained against each other, through `fit`.

    One train step is `d_steps` updates of D, each on a batch of its own, then one of
    G, which reuses the fakes of the last D update: one forward pass of G serves both.
    What the players lose is composed: an adversarial pair, tasks, a penalty.
    All that is random is a function of (seed, step), drawn for the global batch and
    sliced by replica: a step number is all that a resumed run needs, and the numbers
    do not depend on how many replicas share the work.

    `fit` raises `Diverged` as soon as one of the scalars that it logs is not finite.

    Example:

        gan = GAN(generator, discriminator, latents=Latents(128))
        gan.compile(
            g_optimizer=Adam(2e-4, beta_1=0.0, beta_2=0.9),
            d_optimizer=Adam(2e-4, beta_1=0.0, beta_2=0.9),
            adversarial_loss=losses.Hinge(),
            tasks=[RotationTask(rotated_batch_size=64)],
        )
        gan.fit(dataset, steps_per_epoch=1000)

    Args:
        generator: `keras.Model`, latents `(batch, dim)` -> images in [0, 1]. With a
            positive attribute `num_classes` it is conditional and called with latents
            and labels, int32 `(batch,)`.
        discriminator: `keras.Model`, images -> dict with `logits` (batch, 1) and what
            the tasks need; called with images and labels if G is conditional.
        latents: `Latents`. Distribution of z.
        seed: int. Of the noise, together with `rollbacks`, a variable: a run that goes
            back to a checkpoint would otherwise meet what it fled from.
        average: None, or a second generator that follows the moving average of the
            first one's weights.

    Raises:
        ValueError: the networks know other classes, or images of another shape; D has
            no `logits`.
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
        self.num_classes = num_classes_of(generator)
        d_classes = num_classes_of(discriminator)
        if d_classes != self.num_classes:
            raise ValueError(
                "Both networks must know the same classes. Received: "
                f"generator.num_classes={self.num_classes}, "
                f"discriminator.num_classes={d_classes}. Build them with one number."
            )
        g_shape, d_shape = (
            getattr(network, "image_shape", None)
            for network in (generator, discriminator)
        )
        # A convolution takes three channels for one without a word, as groups.
        if None not in (g_shape, d_shape) and tuple(g_shape) != tuple(d_shape):
            raise ValueError(
                "D must take the images that G makes. Received: "
                f"generator.image_shape={g_shape}, discriminator.image_shape={d_shape}."
                " Build them with one shape."
            )
        self.generator = generator
        self.discriminator = discriminator
        self.latents = latents
        self.seed = seed
        self.average = average
        self.rollbacks = keras.Variable(0, dtype="int64", trainable=False)
        self.image_shape, self._d_columns = self._pass_shapes()
        if average is not None:
            optimizers.update_average(average, generator, decay=0.0)

    def _pass_shapes(self) -> tuple[tuple[int, ...], dict[str, int]]:
        """Shape of G's images, columns of D's outputs.

        Builds networks that have waited for data.
        """
        labels = keras.KerasTensor((1,), "int32") if self.num_classes else None
        inputs = keras.KerasTensor((1, self.latents.dim)), *as_arguments(labels)
        if self.average is not None and not self.average.built:
            self.average(*inputs)
        images = self.generator(*inputs)
        outputs = self.discriminator(images, *inputs[1:])
        if not isinstance(outputs, dict) or "logits" not in outputs:
            raise ValueError(
                "D's outputs must be a dict with `logits`, (batch, 1). Received: "
                f"{list(outputs) if isinstance(outputs, dict) else outputs}. Name the "
                "true/fake output so."
            )
        columns = {name: output.shape[-1] for name, output in outputs.items()}
        return tuple(images.shape[1:]), columns

    def compile(
        self,
        *,
        g_optimizer: keras.optimizers.Optimizer,
        d_optimizer: keras.optimizers.Optimizer,
        adversarial_loss: AdversarialLoss | None,
        tasks: Sequence[Task] = (),
        penalty: Penalty | None = None,
        penalty_weight: float = 1.0,
        penalty_interval: int = 1,
        augmentation: Augmentation | None = None,
        d_steps: int = 1,
        accumulate: int = 1,
        ema_decay: float = 0.9999,
        ema_start_step: int = 0,
        steps_per_execution: int = 1,
        jit_compile: bool = False,
    ):
        """Says how to train.

        Args:
            g_optimizer: of the generator; its `iterations` are the step number.
            d_optimizer: of the discriminator.
            adversarial_loss: the pair of losses on the true/fake logit; None for tasks
                alone.
            tasks: terms beside it.
            penalty: None, or a term of D's loss that looks at D's slopes or weights;
                at images that are not augmented.
            penalty_weight: float. compare_gan's lambda.
            penalty_interval: int. The penalty acts on every n-th update of D, n times
                as strong (lazy regularization).
            augmentation: None, or what every image goes through before D.
            d_steps: int. Updates of D per update of G.
            accumulate: int. Pieces that a replica cuts its share of a batch into, to
                run them one after another in less memory: gradients are added up. Each
                piece takes moments of its own where a batch has some (batch norm,
                DRAGAN's deviation, the number of labelled images); without those the
                update is that of the whole batch. The last fakes are made twice, and
                the graph, with the time to compile it, grows with the pieces.
            ema_decay: float in [0, 1). Of the generator's average, if there is one.
            ema_start_step: int. Before it the average is the generator itself.
            steps_per_execution: int. Train steps per call from Python.
            jit_compile: bool. Whether XLA compiles the step; for one replica, and one
                piece: XLA would run pieces side by side.

        Raises:
            ValueError: a count below 1; a task for a discriminator without the head
                that it needs; neither an adversarial loss nor a task.
        """
        for name, value in (
            ("d_steps", d_steps),
            ("accumulate", accumulate),
            ("penalty_interval", penalty_interval),
            ("steps_per_execution", steps_per_execution),
        ):
            if not (isinstance(value, numbers.Integral) and value >= 1):
                raise ValueError(
                    f"`{name}` must be an integer of at least 1. Received: {name}="
                    f"{value}. For the usual step, leave it out."
                )
        if adversarial_loss is None and not tasks:
            raise ValueError(
                "A GAN needs something to learn. Received: adversarial_loss=None and "
                "no tasks. Give one of them."
            )
        self._check_heads(tasks)
        # Keras's own optimizer stays unset: it would be a third one, never used.
        super().compile(
            optimizer=None,
            loss=None,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self.g_optimizer = g_optimizer
        self.d_optimizer = d_optimizer
        self.adversarial_loss = adversarial_loss
        self.tasks = tuple(tasks)
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.penalty_interval = penalty_interval
        self.augmentation = augmentation
        self.d_steps = d_steps
        self.accumulate = accumulate
        self.ema_decay = ema_decay
        self.ema_start_step = ema_start_step
        # Variables cannot be made inside a replica's step.
        g_optimizer.build(self.generator.trainable_variables)
        d_optimizer.build(self.discriminator.trainable_variables)
        self.built = True

    def _check_heads(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            for name, columns in task.heads.items():
                found = self._d_columns.get(name, "no such output")
                if found != columns:
                    raise ValueError(
                        f"{type(task).__name__} needs a discriminator whose output "
                        f"{name!r} has {columns} columns. Received: a discriminator "
                        f"with {found}. Build D with that output (in ours: "
                        "DiscriminatorSpec.rotation_classes), or leave the task out."
                    )

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
        names = ["loss/d", "loss/g", "logits/real"]
        if self._d_sees_fakes:
            names.append("logits/fake")
        if self.penalty is not None:
            names.append("loss/penalty")
        for task in self.tasks:
            names += task.d_log_names if task.acts_on_d else ()
            names += task.g_log_names if task.acts_on_g else ()
        return names

    @property
    def _d_sees_fakes(self) -> bool:
        return self.adversarial_loss is not None or any(
            task.acts_on_d and task.d_sees_fakes for task in self.tasks
        )

    def train_step(self, data):
        """`d_steps` updates of D, then one of G, on one replica's share.

        Args:
            data: `(images, labels)` or images: `(d_steps * share, size, size,
                channels)`, uint8 in [0, 255] or float32 in [0, 1]. Piece j of
                `d_steps` equal pieces belongs to the j-th update of D. Labels are
                integers below the number of classes, -1 for unknown; read by a
                conditional GAN only.

        Returns:
            dict of scalars, one for each of `log_names`: means over this replica's
            share and over the D updates, losses with their weights in `loss/d` and
            `loss/g` alone.

        Raises:
            ValueError: the images have another dtype, no static shape, or do not
                divide into `d_steps` batches; a conditional GAN gets no labels.
        """
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        images = tf.convert_to_tensor(images)
        self._check_images(images)
        if images.dtype == tf.uint8:
            images = tf.cast(images, tf.float32) / 255.0
        batches = zip(
            tf.split(images, self.d_steps), self._split_labels(labels), strict=True
        )
        if self.accumulate == 1:
            return self._step_at_once(batches)
        return self._step_in_pieces(batches)

    def _step_at_once(self, batches) -> dict[str, tf.Tensor]:
        share = Share.of_replica()
        d_logs = []
        for d_step, (real_images, real_labels) in enumerate(batches):
            # One forward pass of G serves the last update of D and that of G.
            last = d_step == self.d_steps - 1
            fakes = self._make_fakes(real_images.shape[0], d_step, share, watched=last)
            gradients, logs = self._d_gradients(
                real_images, real_labels, fakes, d_step, share
            )
            self._update_discriminator(gradients)
            d_logs.append(logs)
        gradients, g_logs = self._g_gradients(fakes, share)
        self._update_generator(gradients)
        return _mean(d_logs) | g_logs

    def _step_in_pieces(self, batches) -> dict[str, tf.Tensor]:
        share, pieces = Share.of_replica(), self.accumulate
        g_state, d_state = (
            # Not the integers: states of random generators, which go on.
            [v for v in network.non_trainable_variables if "float" in v.dtype]
            for network in (self.generator, self.discriminator)
        )
        state = [*g_state, *d_state]
        d_logs = []
        for d_step, (real_images, real_labels) in enumerate(batches):
            g_start = [tf.identity(tf.convert_to_tensor(v)) for v in g_state]
            size = real_images.shape[0] // pieces

            def d_piece(i, reals=real_images, labels=real_labels, d_step=d_step):
                piece = share.piece(i, pieces)
                size = reals.shape[0] // pieces
                fakes = self._make_fakes(size, d_step, piece, watched=False)
                labels = None if labels is None else labels[i::pieces]
                return self._d_gradients(reals[i::pieces], labels, fakes, d_step, piece)

            gradients, logs = accumulate(d_piece, pieces, state)
            self._update_discriminator(gradients)
            d_logs.append(logs)
        # The last fakes are made once more: G is where it was before.
        for variable, value in zip(g_state, g_start, strict=True):
            variable.assign(value)

        def g_piece(i):
            piece = share.piece(i, pieces)
            fakes = self._make_fakes(size, self.d_steps - 1, piece, watched=True)
            return self._g_gradients(fakes, piece)

        gradients, g_logs = accumulate(g_piece, pieces, state)
        self._update_generator(gradients)
        return _mean(d_logs) | g_logs

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
        if images.shape[0] % (self.d_steps * self.accumulate):
            raise ValueError(
                "A batch must hold the images of all `d_steps` updates of D, each in "
                f"`accumulate` equal pieces. Received: {images.shape[0]} images, "
                f"d_steps={self.d_steps}, accumulate={self.accumulate}. Choose a "
                "multiple of both."
            )

    def _split_labels(self, labels) -> list[tf.Tensor | None]:
        """Labels of the reals of each update of D; None where nobody asks."""
        if not self.num_classes:
            return [None] * self.d_steps
        if labels is None:
            raise ValueError(
                "A conditional GAN must be trained on (images, labels). Received: "
                "images alone. Batch them together."
            )
        return tf.split(tf.cast(labels, tf.int32), self.d_steps)

    # ------------------------------------------------------------------ randomness

    def _deal(
        self, sample: Callable, rows: int, share: Share, stream: int, draw: tf.Tensor
    ):
        # Not another seed: that would be the noise of another run.
        stream += NUM_STREAMS * tf.convert_to_tensor(self.rollbacks.value)
        return deal(sample, rows, share, seed=self.seed, stream=stream, draw=draw)

    def _draw_latents(self, rows: int, d_step: int, share: Share) -> tf.Tensor:
        draw = self._d_update(d_step)
        return self._deal(self.latents.sample, rows, share, TRAINING_STREAM, draw)

    def _draw_labels(self, rows: int, d_step: int, share: Share) -> tf.Tensor | None:
        if not self.num_classes:
            return None

        def sample(num, seed):
            return draw_labels(num, self.num_classes, seed)

        draw = self._d_update(d_step)
        return self._deal(sample, rows, share, TRAINING_LABELS_STREAM, draw)

    def _d_update(self, d_step: int) -> tf.Tensor:
        """Updates of D before this one, as an int64 scalar."""
        return self._step_tensor() * self.d_steps + d_step

    def _step_tensor(self) -> tf.Tensor:
        """Generator steps taken so far, read now.

        `tf.cast` alone would return the variable itself where no cast is needed, to
        be read after the update that counts it up.
        """
        return tf.cast(
            tf.convert_to_tensor(self.g_optimizer.iterations.value), tf.int64
        )

    # ------------------------------------------------------------------- the updates

    def _make_fakes(
        self, rows: int, d_step: int, share: Share, *, watched: bool
    ) -> Fakes:
        """A share's fakes for an update of D, and of G if its weights are watched."""
        latents = self._draw_latents(rows, d_step, share)
        labels = self._draw_labels(rows, d_step, share)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            if watched:
                tape.watch([v.value for v in self.generator.trainable_variables])
            images = self.generator(latents, *as_arguments(labels), training=True)
        return Fakes(images, labels, tape)

    def _ask(
        self, players: Sequence[list], d_step: int, share: Share
    ) -> list[list[DiscriminatorOutputs]]:
        """What D says of what the players show, in one pass: one power iteration.

        G's update counts as one more update of D, number `d_steps`.
        """

        def discriminate(images, labels):
            if self.augmentation is not None:
                draw = self._step_tensor() * (self.d_steps + 1) + d_step
                sample = uniform((self.augmentation.noise_size,))
                rows = images.shape[0]
                noise = self._deal(sample, rows, share, AUGMENTATION_STREAM, draw)
                images = self.augmentation(images, noise)
            return self.discriminator(images, *as_arguments(labels), training=True)

        return run_discriminator(discriminate, players)

    def _d_gradients(
        self, real_images, real_labels, fakes: Fakes, d_step: int, share: Share
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """A share's part of the gradient of D's loss, and its scalars."""
        fake_images = tf.stop_gradient(fakes.images)
        tasks = [task for task in self.tasks if task.acts_on_d]
        players = [inputs_for_tasks(real_images, real_labels, tasks, share.count)]
        if self._d_sees_fakes:
            # A plain rotation task has no use for turned fakes here.
            asking = [task if task.d_sees_fakes else None for task in tasks]
            players.append(
                inputs_for_tasks(fake_images, fakes.labels, asking, share.count)
            )
        with tf.GradientTape() as tape:
            real, *others = self._ask(players, d_step, share)
            fake = others[0] if others else [None] * len(real)
            real_logits = real[0].upright["logits"]
            loss = tf.zeros([])
            logs = {"logits/real": tf.reduce_mean(real_logits)}
            if fake[0] is not None:
                fake_logits = fake[0].upright["logits"]
                logs["logits/fake"] = tf.reduce_mean(fake_logits)
            if self.adversarial_loss is not None:
                loss += self.adversarial_loss.d_loss(real_logits, fake_logits)
            step = self._step_tensor()
            for task, of_real, of_fake in zip(tasks, real[1:], fake[1:], strict=True):
                task_loss, task_logs = task.d_loss(of_real, of_fake, step)
                loss += task_loss
                logs |= task_logs
            if self.penalty is not None:
                penalty = self._penalty(
                    real_images, fake_images, real_labels, d_step, share
                )
                loss += self.penalty_weight * penalty
                logs["loss/penalty"] = penalty
            # The gradients of the shares are added up.
            scaled_loss = self.d_optimizer.scale_loss(loss / share.count)
        # A head that no loss looks at has nothing to learn.
        gradients = tape.gradient(
            scaled_loss,
            [v.value for v in self.discriminator.trainable_variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return gradients, logs | {"loss/d": loss}

    def _penalty(
        self, real_images, fake_images, labels, d_step: int, share: Share
    ) -> tf.Tensor:
        """The penalty of this update, 0 between lazy ones, without its weight."""
        update = self._d_update(d_step)
        shape = self.penalty.noise_shape(real_images.shape)
        noise = None
        if shape is not None:
            rows, *row_shape = shape
            sample = uniform(tuple(row_shape))
            noise = self._deal(sample, rows, share, PENALTY_STREAM, update)
        points = self.penalty.points(real_images, fake_images, noise)

        def value():
            return self.penalty.value(self.discriminator, points, labels)

        if self.penalty_interval == 1:
            return value()
        return tf.cond(
            update % self.penalty_interval == 0,
            lambda: self.penalty_interval * value(),
            lambda: tf.zeros([]),
        )

    def _update_discriminator(self, gradients: list[tf.Tensor]) -> None:
        variables = self.discriminator.trainable_variables
        self.d_optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def _g_gradients(
        self, fakes: Fakes, share: Share
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """A share's part of the gradient of G's loss, and its scalars."""
        # The gradient stops at the images first: D's weights need none here.
        logs = {}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fakes.images)
            tasks = [task for task in self.tasks if task.acts_on_g]
            shown = inputs_for_tasks(fakes.images, fakes.labels, tasks, share.count)
            ((batch, *of_tasks),) = self._ask([shown], self.d_steps, share)
            loss = tf.zeros([])
            if self.adversarial_loss is not None:
                loss += self.adversarial_loss.g_loss(batch.upright["logits"])
            step = self._step_tensor()
            for task, fake in zip(tasks, of_tasks, strict=True):
                task_loss, task_logs = task.g_loss(fake, step)
                loss += task_loss
                logs |= task_logs
            scaled_loss = self.g_optimizer.scale_loss(loss / share.count)
        gradients = fakes.tape.gradient(
            fakes.images,
            [v.value for v in self.generator.trainable_variables],
            # None, of a loss that does not see the fakes, would stand for ones.
            output_gradients=tape.gradient(
                scaled_loss,
                fakes.images,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            ),
        )
        return gradients, logs | {"loss/g": loss}

    def _update_generator(self, gradients: list[tf.Tensor]) -> None:
        step = self._step_tensor()
        variables = self.generator.trainable_variables
        self.g_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self.average is not None:
            decay = self.ema_decay * tf.cast(step >= self.ema_start_step, tf.float32)
            optimizers.update_average(self.average, self.generator, decay)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: all is built by now.

        Keras would take a batch from the data and exchange it between the replicas for
        that, which fails under several workers.
        """

    def make_train_function(self, force: bool = False):
        """Compiles `steps_per_execution` train steps on all replicas into one call.

        Keras's own loop works neither with several steps per execution under
        MirroredStrategy nor with scalar logs under MultiWorkerMirroredStrategy.
        The logs are means over the replicas and over the steps of one call.
        """
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy
        num_steps = self.steps_per_execution
        step = self.train_step
        if self.jit_compile:
            step = tf.function(step, jit_compile=True)

        @tf.function
        def take_steps(iterator):
            totals = {name: tf.zeros([]) for name in self.log_names}
            finite_steps = tf.zeros([], tf.int32)
            for _ in tf.range(num_steps):
                logs = strategy.run(step, args=(next(iterator),))
                # A new dict: the loop must see the name assigned to carry it.
                totals = {
                    name: total + strategy.reduce("MEAN", logs[name], axis=None)
                    for name, total in totals.items()
                }
                # What is not finite stays so in the totals.
                finite = tf.math.is_finite([*totals.values()])
                finite_steps += tf.cast(tf.reduce_all(finite), tf.int32)
            logs = {name: total / num_steps for name, total in totals.items()}
            return logs, finite_steps

        def train_function(iterator):
            logs, finite_steps = take_steps(iterator)
            if finite_steps < num_steps:
                self._refuse(logs, self.step - num_steps + int(finite_steps) + 1)
            return logs

        self.train_function = train_function

    def _refuse(self, logs: dict[str, tf.Tensor], step: int) -> None:
        values = {name: float(value) for name, value in logs.items()}
        bad = ", ".join(f"{k}={v}" for k, v in values.items() if not np.isfinite(v))
        raise Diverged(
            f"Losses must be finite. Received: {bad} at step {step}. {_CURE}"
        )

    def check_finite(self) -> None:
        """Refuses weights, moments and averages that are not finite.

        They may be before a loss shows it: some kernels take NaN for 0.

        Raises:
            Diverged: a variable is not; the message names it.
        """
        owners = [self.generator, self.discriminator, self.average]
        owners += [self.g_optimizer, self.d_optimizer]
        variables = [
            variable
            for owner in owners
            if owner is not None
            for variable in owner.variables
            if "float" in variable.dtype
        ]
        bad = [
            variable.path
            for variable in variables
            if not tf.reduce_all(tf.math.is_finite(variable.value))
        ]
        if bad:
            raise Diverged(
                f"Weights must be finite. Received: {len(bad)} of {len(variables)} "
                f"variables with NaN or infinity, such as {bad[0]}, at step "
                f"{self.step}. {_CURE}"
            )


def _mean(logs: list[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    """Means of scalars of the same names."""
    return {name: tf.add_n([log[name] for log in logs]) / len(logs) for name in logs[0]}


def accumulate(
    compute: Callable[[int], tuple],
    num_pieces: int,
    state: Sequence[keras.Variable],
) -> tuple:
    """Runs `compute` on every piece of a batch, with the memory of one (not under XLA).

    Every piece starts from the same state: spectral-norm vectors, which a piece moves
    as the whole batch would, and moving moments. What stays is the mean of the states
    that the pieces left.

    Args:
        compute: takes the number of the piece, returns `(gradients, logs)`: a list of
            tensors and a dict of scalars.
        num_pieces: int.
        state: float variables that `compute` changes.

    Returns:
        `(gradients, logs)`: sums of the gradients, means of the scalars.
    """
    start = [tf.identity(tf.convert_to_tensor(variable)) for variable in state]
    totals = None
    for piece in range(num_pieces):
        # Side by side, pieces would take as much memory as the batch.
        with tf.control_dependencies(tf.nest.flatten(totals) if totals else []):
            for variable, value in zip(state, start, strict=True):
                variable.assign(value)
            gradients, logs = compute(piece)
            left = [tf.identity(tf.convert_to_tensor(variable)) for variable in state]
            results = gradients, logs, left
            if totals is not None:
                results = tf.nest.map_structure(tf.add, totals, results)
            totals = results
    gradients, logs, left = totals
    for variable, total in zip(state, left, strict=True):
        variable.assign(total / num_pieces)
    return gradients, {name: total / num_pieces for name, total in logs.items()}
