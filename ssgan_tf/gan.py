"""The GAN: alternating updates of two networks, on one replica or many."""

import numbers
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from ssgan_tf import optimizers
from ssgan_tf.augmentation import Augmentation
from ssgan_tf.latents import Latents, as_arguments, draw_labels, num_classes_of
from ssgan_tf.losses import AdversarialLoss
from ssgan_tf.penalties import Penalty, lazy
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
from ssgan_tf.utils.step_model import StepModel

Gradients = list[tf.Tensor]
Logs = dict[str, tf.Tensor]


class Batch(NamedTuple):
    """Real or generated images: a replica's share of the batch of one update.

    Attributes:
        images: float32 in [0, 1], `(share, size, size, channels)`.
        labels: int32, `(share,)`; None for an unconditional GAN.
    """

    images: tf.Tensor
    labels: tf.Tensor | None


class GAN(StepModel):
    """A generator and a discriminator trained against each other, through `fit`.

    One train step is `d_steps` updates of D, each on its own batch, then one of G,
    which reuses the fakes of the last D update: one pass through G serves both.
    A loss is the sum of an adversarial loss, tasks and, for D, a penalty.

    All noise is a function of (seed, step), drawn for the global batch and dealt to the
    replicas: a run resumes exactly, on any number of replicas.

    `fit` raises `utils.step_model.Diverged` as soon as a logged scalar is not finite.

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
        discriminator: `keras.Model`, images -> dict with `logits` (batch, 1) and the
            heads of the tasks; called with images and labels if G is conditional.
        latents: `Latents`. Distribution of z.
        seed: int. Seed of all noise. The variable `rollbacks` counts returns to a
            checkpoint and selects other noise after each.
        average: None, or a second generator that keeps the moving average of the first
            one's weights.

    Raises:
        ValueError: the networks have different classes or image shapes; D has no
            `logits`.
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
        self.generator = generator
        self.discriminator = discriminator
        self.latents = latents
        self.seed = seed
        self.average = average
        self.rollbacks = keras.Variable(0, dtype="int64", trainable=False)
        self.image_shape, self._d_columns = _pass_shapes(
            generator, discriminator, average, latents.dim
        )
        if average is not None:
            optimizers.update_average(average, generator, decay=0.0)

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
        """Configures training.

        Args:
            g_optimizer: optimizer of G; its `iterations` are the step number.
            d_optimizer: optimizer of D.
            adversarial_loss: losses on the true/fake logit; None to train on the tasks
                alone.
            tasks: further terms of both losses.
            penalty: None, or a term of D's loss; it sees images without augmentation.
            penalty_weight: float. compare_gan's lambda.
            penalty_interval: int. Updates of D per penalty, see `penalties.lazy`.
            augmentation: None, or a transformation of all images that D sees.
            d_steps: int. Updates of D per update of G.
            accumulate: int. Pieces of a replica's share of the batch, run in turn to
                save memory; their gradients are added. Moments over the batch (batch
                norm, DRAGAN's deviation, the number of labels) become those of a
                piece. The graph grows with the pieces.
            ema_decay: float in [0, 1). Decay of `average`.
            ema_start_step: int. Before this step the average equals G.
            steps_per_execution: int. Train steps per call from Python.
            jit_compile: bool. Whether XLA compiles the step; for one replica and
                `accumulate=1` only.

        Raises:
            ValueError: a count below 1; D lacks the head of a task; neither an
                adversarial loss nor a task.
        """
        _check_counts(
            d_steps=d_steps,
            accumulate=accumulate,
            penalty_interval=penalty_interval,
            steps_per_execution=steps_per_execution,
        )
        _check_tasks(tasks, adversarial_loss, self._d_columns)
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

    @tf.autograph.experimental.do_not_convert  # It computes with Python integers.
    def check_batch(self, batch_size: int, num_shares: int) -> None:
        """Checks that the tasks can use a batch; every trace of a step calls this.

        Args:
            batch_size: int. Images per update of D over all replicas.
            num_shares: int. Replicas times `accumulate`; divides the batch.

        Raises:
            ValueError: a task cannot use such a batch.
        """
        for task in self.tasks:
            task.check(batch_size // num_shares, num_shares)

    @property
    def step(self) -> int:
        """Generator steps taken so far; not for use inside a step."""
        # A variable with a copy on every replica has no `int()`.
        return int(self.g_optimizer.iterations.numpy())

    @property
    def sampler(self) -> keras.Model:
        """The generator to sample from: the average if there is one."""
        return self.generator if self.average is None else self.average

    @property
    def parts(self) -> dict[str, keras.Model | keras.Optimizer | keras.Variable]:
        """All state of training, for checkpoints."""
        parts = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
            "rollbacks": self.rollbacks,
        }
        return parts if self.average is None else parts | {"average": self.average}

    @property
    def log_names(self) -> list[str]:
        """Names of the scalars that a train step reports."""
        names = ["loss/d", "loss/g", "logits/real"]
        if self.d_sees_fakes:
            names.append("logits/fake")
        if self.penalty is not None:
            names.append("loss/penalty")
        for task in self.tasks:
            names += task.d_log_names if task.acts_on_d else ()
            names += task.g_log_names if task.acts_on_g else ()
        return names

    @property
    def d_sees_fakes(self) -> bool:
        """Whether D's loss depends on the fakes."""
        return self.adversarial_loss is not None or any(
            task.acts_on_d and task.d_sees_fakes for task in self.tasks
        )

    # --------------------------------------------------------------- the train step

    def train_step(self, data) -> Logs:
        """`d_steps` updates of D, then one of G, on one replica's share.

        Args:
            data: `(images, labels)` or images: `(d_steps * share, size, size,
                channels)`, uint8 in [0, 255] or float32 in [0, 1]. The j-th of
                `d_steps` equal pieces is for the j-th update of D. Labels are
                integers below the number of classes, -1 for unknown; only a
                conditional GAN reads them.

        Returns:
            dict of the scalars `log_names`: means over this replica's share and over
            the D updates. Only `loss/d` and `loss/g` include the weights of the terms.

        Raises:
            ValueError: the images have another dtype, no static shape, or do not
                divide into `d_steps` batches; a task cannot use such a batch; a
                conditional GAN gets no labels.
        """
        batches = self._batches(data)
        if self.accumulate > 1:
            return _accumulated_step(self, batches)
        step, d_logs = Step(self, Share.of_replica()), []
        for d_step, reals in enumerate(batches):
            # G's update reuses the fakes of D's last update.
            last = d_step == self.d_steps - 1
            fakes, tape = step.make_fakes(reals.images.shape[0], d_step, watched=last)
            gradients, logs = step.d_gradients(reals, fakes, d_step)
            self.update_discriminator(gradients)
            d_logs.append(logs)
        gradients, g_logs = step.g_gradients(fakes, tape)
        self.update_generator(gradients)
        return _mean(d_logs) | g_logs

    def _batches(self, data) -> list[Batch]:
        """A replica's real images for every update of D in one step."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        images = tf.convert_to_tensor(images)
        _check_images(images, self.d_steps, self.accumulate)
        replicas = Share.of_replica().count
        batch_size = images.shape[0] // self.d_steps * replicas
        self.check_batch(batch_size, replicas * self.accumulate)
        if images.dtype == tf.uint8:
            images = tf.cast(images, tf.float32) / 255.0
        images = tf.split(images, self.d_steps)
        if not self.num_classes:
            return [Batch(batch, None) for batch in images]
        if labels is None:
            raise ValueError(
                "A conditional GAN must be trained on (images, labels). Received: "
                "images alone. Batch them together."
            )
        labels = tf.split(tf.cast(labels, tf.int32), self.d_steps)
        return [Batch(*pair) for pair in zip(images, labels, strict=True)]

    def update_discriminator(self, gradients: Gradients) -> None:
        """One step of D's optimizer."""
        variables = self.discriminator.trainable_variables
        self.d_optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def update_generator(self, gradients: Gradients) -> None:
        """One step of G's optimizer, and of the average."""
        step = self.step_number()
        variables = self.generator.trainable_variables
        self.g_optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self.average is not None:
            decay = self.ema_decay * tf.cast(step >= self.ema_start_step, tf.float32)
            optimizers.update_average(self.average, self.generator, decay)

    def step_number(self) -> tf.Tensor:
        """`step` inside a train step: int64 scalar."""
        # `tf.cast` may return the variable itself, to be read after the next update.
        iterations = tf.convert_to_tensor(self.g_optimizer.iterations.value)
        return tf.cast(iterations, tf.int64)


def _mean(logs: list[Logs]) -> Logs:
    """Means of scalars of the same names."""
    return {name: tf.add_n([log[name] for log in logs]) / len(logs) for name in logs[0]}


class Step:
    """The computations of one train step on one share of the batch.

    Args:
        gan: `GAN`, compiled.
        share: the share.
    """

    def __init__(self, gan: GAN, share: Share):
        self.gan = gan
        self.share = share
        self.number = gan.step_number()

    # ------------------------------------------------------------------- the noise

    def latents(self, size: int, d_step: int) -> tf.Tensor:
        """The share's latents, `(size, dim)`, for update `d_step` of D."""
        sample = self.gan.latents.sample
        return self._deal(sample, size, TRAINING_STREAM, self._d_update(d_step))

    def labels(self, size: int, d_step: int) -> tf.Tensor | None:
        """The labels of the same fakes; None without classes."""
        num_classes = self.gan.num_classes
        if not num_classes:
            return None

        def sample(num, seed):
            return draw_labels(num, num_classes, seed)

        return self._deal(sample, size, TRAINING_LABELS_STREAM, self._d_update(d_step))

    def _d_update(self, d_step: int) -> tf.Tensor:
        """Number of D's updates before this one, int64 scalar."""
        return self.number * self.gan.d_steps + d_step

    def _deal(self, sample: Callable, rows: int, stream: int, draw: tf.Tensor):
        # A rollback selects other streams. Another seed could be that of another run.
        stream += NUM_STREAMS * tf.convert_to_tensor(self.gan.rollbacks.value)
        seed = self.gan.seed
        return deal(sample, rows, self.share, seed=seed, stream=stream, draw=draw)

    # ------------------------------------------------------------------ the players

    def make_fakes(
        self, size: int, d_step: int, *, watched: bool
    ) -> tuple[Batch, tf.GradientTape]:
        """The share's fakes for one update of D, and the recorded pass through G.

        With `watched` the tape can differentiate by G's weights, for G's update.
        """
        generator = self.gan.generator
        latents, labels = self.latents(size, d_step), self.labels(size, d_step)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            if watched:
                tape.watch([v.value for v in generator.trainable_variables])
            images = generator(latents, *as_arguments(labels), training=True)
        return Batch(images, labels), tape

    def d_gradients(
        self, reals: Batch, fakes: Batch, d_step: int
    ) -> tuple[Gradients, Logs]:
        """The share's part of the gradient of D's loss, and its scalars."""
        gan = self.gan
        fakes = Batch(tf.stop_gradient(fakes.images), fakes.labels)
        tasks = [task for task in gan.tasks if task.acts_on_d]
        players = [inputs_for_tasks(*reals, tasks, self.share.count)]
        if gan.d_sees_fakes:
            # A plain rotation task does not use rotated fakes here.
            f_tasks = [task if task.d_sees_fakes else None for task in tasks]
            players.append(inputs_for_tasks(*fakes, f_tasks, self.share.count))
        with tf.GradientTape() as tape:
            real, *others = self._discriminate(players, d_step)
            fake = others[0] if others else [None] * len(real)
            loss = tf.zeros([])
            real_logits = real[0].upright["logits"]
            logs = {"logits/real": tf.reduce_mean(real_logits)}
            if others:
                fake_logits = fake[0].upright["logits"]
                logs["logits/fake"] = tf.reduce_mean(fake_logits)
            if gan.adversarial_loss is not None:
                loss += gan.adversarial_loss.d_loss(real_logits, fake_logits)
            for task, on_real, on_fake in zip(tasks, real[1:], fake[1:], strict=True):
                task_loss, task_logs = task.d_loss(on_real, on_fake, self.number)
                loss += task_loss
                logs |= task_logs
            if gan.penalty is not None:
                penalty = self._penalty(reals, fakes, d_step)
                loss += gan.penalty_weight * penalty
                logs["loss/penalty"] = penalty
            # The optimizer adds the gradients of all shares.
            scaled_loss = gan.d_optimizer.scale_loss(loss / self.share.count)
        # A head that is in no loss gets the gradient zero.
        gradients = tape.gradient(
            scaled_loss,
            [v.value for v in gan.discriminator.trainable_variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return gradients, logs | {"loss/d": loss}

    def g_gradients(
        self, fakes: Batch, g_tape: tf.GradientTape
    ) -> tuple[Gradients, Logs]:
        """The share's part of the gradient of G's loss, and its scalars."""
        gan, logs = self.gan, {}
        tasks = [task for task in gan.tasks if task.acts_on_g]
        # This tape ends at the images: D's weights need no gradient here.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fakes.images)
            player = inputs_for_tasks(*fakes, tasks, self.share.count)
            ((fake, *on_fakes),) = self._discriminate([player], gan.d_steps)
            loss = tf.zeros([])
            if gan.adversarial_loss is not None:
                loss += gan.adversarial_loss.g_loss(fake.upright["logits"])
            for task, on_fake in zip(tasks, on_fakes, strict=True):
                task_loss, task_logs = task.g_loss(on_fake, self.number)
                loss += task_loss
                logs |= task_logs
            scaled_loss = gan.g_optimizer.scale_loss(loss / self.share.count)
        gradients = g_tape.gradient(
            fakes.images,
            [v.value for v in gan.generator.trainable_variables],
            # Not None, which would mean ones, if the loss does not see the fakes.
            output_gradients=tape.gradient(
                scaled_loss,
                fakes.images,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            ),
        )
        return gradients, logs | {"loss/g": loss}

    def _discriminate(
        self, players: Sequence[list], d_step: int
    ) -> list[list[DiscriminatorOutputs]]:
        """Runs D, with augmentation, once on the images of all players.

        One pass is one power iteration of the spectral norms. G's update counts as one
        more update of D, number `d_steps`.
        """
        gan = self.gan

        def discriminate(images, labels):
            if gan.augmentation is not None:
                draw = self.number * (gan.d_steps + 1) + d_step
                sample, rows = uniform((gan.augmentation.noise_size,)), images.shape[0]
                noise = self._deal(sample, rows, AUGMENTATION_STREAM, draw)
                images = gan.augmentation(images, noise)
            return gan.discriminator(images, *as_arguments(labels), training=True)

        return run_discriminator(discriminate, players)

    def _penalty(self, reals: Batch, fakes: Batch, d_step: int) -> tf.Tensor:
        """The penalty of one update of D, without its weight."""
        penalty, update, noise = self.gan.penalty, self._d_update(d_step), None
        shape = penalty.noise_shape(reals.images.shape)
        if shape is not None:
            rows, *row_shape = shape
            sample = uniform(tuple(row_shape))
            noise = self._deal(sample, rows, PENALTY_STREAM, update)
        points = penalty.points(reals.images, fakes.images, noise)

        def value():
            return penalty.value(self.gan.discriminator, points, reals.labels)

        return lazy(value, update, self.gan.penalty_interval)


# ------------------------------------------------------------- gradient accumulation


def _accumulated_step(gan: GAN, batches: list[Batch]) -> Logs:
    """`GAN.train_step` with `gan.accumulate` pieces in turn."""
    share, num_pieces = Share.of_replica(), gan.accumulate
    steps = [Step(gan, share.piece(i, num_pieces)) for i in range(num_pieces)]
    g_state, d_state = (
        # Integers are the states of random generators, which must advance.
        [v for v in network.non_trainable_variables if "float" in v.dtype]
        for network in (gan.generator, gan.discriminator)
    )
    state = [*g_state, *d_state]
    size = batches[0].images.shape[0] // num_pieces
    d_logs = []
    for d_step, reals in enumerate(batches):
        g_start = _values(g_state)

        def d_piece(i, reals=reals, d_step=d_step):
            fakes, _ = steps[i].make_fakes(size, d_step, watched=False)
            rows = (None if part is None else part[i::num_pieces] for part in reals)
            return steps[i].d_gradients(Batch(*rows), fakes, d_step)

        gradients, logs = accumulate(d_piece, num_pieces, state)
        gan.update_discriminator(gradients)
        d_logs.append(logs)
    # G's update generates the last fakes again, from the same state.
    for variable, value in zip(g_state, g_start, strict=True):
        variable.assign(value)

    def g_piece(i):
        fakes = steps[i].make_fakes(size, gan.d_steps - 1, watched=True)
        return steps[i].g_gradients(*fakes)

    gradients, g_logs = accumulate(g_piece, num_pieces, state)
    gan.update_generator(gradients)
    return _mean(d_logs) | g_logs


def accumulate(
    compute: Callable[[int], tuple[Gradients, Logs]],
    num_pieces: int,
    state: Sequence[keras.Variable],
) -> tuple[Gradients, Logs]:
    """Runs `compute` on all pieces of a batch in turn, in the memory of one piece.

    Every piece starts from the same state: moving moments and spectral-norm vectors.
    The new state is the mean of the states after the pieces. XLA would run the pieces
    in parallel.

    Args:
        compute: takes the number of a piece, returns its gradients and scalars.
        num_pieces: int.
        state: float variables that `compute` changes.

    Returns:
        `(gradients, logs)`: sums of the gradients, means of the scalars.
    """
    start = _values(state)
    totals = None
    for piece in range(num_pieces):
        # In parallel the pieces would need the memory of the whole batch.
        with tf.control_dependencies(tf.nest.flatten(totals) if totals else []):
            for variable, value in zip(state, start, strict=True):
                variable.assign(value)
            gradients, logs = compute(piece)
            results = gradients, logs, _values(state)
            if totals is not None:
                results = tf.nest.map_structure(tf.add, totals, results)
            totals = results
    gradients, logs, end = totals
    for variable, total in zip(state, end, strict=True):
        variable.assign(total / num_pieces)
    return gradients, {name: total / num_pieces for name, total in logs.items()}


def _values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Copies of the values that the variables have now."""
    return [tf.identity(tf.convert_to_tensor(variable)) for variable in variables]


# --------------------------------------------------------------------------- checks


def _check_images(images: tf.Tensor, d_steps: int, num_pieces: int) -> None:
    if images.dtype not in (tf.uint8, tf.float32):
        raise ValueError(
            "Images must be uint8 in [0, 255] or float32 in [0, 1]. Received: "
            f"images.dtype={images.dtype.name}. Cast them."
        )
    if images.shape.rank != 4 or None in images.shape:
        raise ValueError(
            "Images must have a static shape (d_steps * batch, size, size, channels). "
            f"Received: images.shape={images.shape}. Batch with drop_remainder=True."
        )
    if images.shape[0] % (d_steps * num_pieces):
        raise ValueError(
            "A batch must hold the images of all `d_steps` updates of D, each in "
            f"`accumulate` equal pieces. Received: {images.shape[0]} images, "
            f"d_steps={d_steps}, accumulate={num_pieces}. Choose a multiple of both."
        )


def _pass_shapes(
    generator: keras.Model,
    discriminator: keras.Model,
    average: keras.Model | None,
    latent_dim: int,
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Shape of G's images and columns of D's outputs; builds unbuilt networks.

    Raises:
        ValueError: the networks do not fit together.
    """
    g_classes, d_classes = map(num_classes_of, (generator, discriminator))
    if d_classes != g_classes:
        raise ValueError(
            "Both networks must have the same number of classes. Received: "
            f"generator.num_classes={g_classes}, "
            f"discriminator.num_classes={d_classes}. Build them with one number."
        )
    labels = keras.KerasTensor((1,), "int32") if g_classes else None
    inputs = keras.KerasTensor((1, latent_dim)), *as_arguments(labels)
    if average is not None and not average.built:
        average(*inputs)
    images = generator(*inputs)
    g_shape = tuple(images.shape[1:])
    d_shape = tuple(getattr(discriminator, "image_shape", None) or g_shape)
    # TensorFlow would not complain: it convolves in groups where channels differ.
    if d_shape != g_shape:
        raise ValueError(
            "D must take the images that G makes. Received: images of the shape "
            f"{g_shape}, discriminator.image_shape={d_shape}. Build them with one "
            "shape."
        )
    outputs = discriminator(images, *inputs[1:])
    if not isinstance(outputs, dict) or "logits" not in outputs:
        raise ValueError(
            "D's outputs must be a dict with `logits`, (batch, 1). Received: "
            f"{outputs}. Give the true/fake output this name."
        )
    return g_shape, {name: output.shape[-1] for name, output in outputs.items()}


def _check_tasks(tasks: Sequence[Task], adversarial_loss, d_columns) -> None:
    if adversarial_loss is None and not tasks:
        raise ValueError(
            "A GAN needs an adversarial loss or a task. Received: "
            "adversarial_loss=None and no tasks."
        )
    for task in tasks:
        for name, columns in task.heads.items():
            received = d_columns.get(name, "no such output")
            if received != columns:
                raise ValueError(
                    f"{type(task).__name__} needs a discriminator whose output {name!r}"
                    f" has {columns} columns. Received: {received}. Build D with that "
                    "output (in ours: DiscriminatorSpec.rotation_classes)."
                )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not (isinstance(value, numbers.Integral) and value >= 1):
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: {name}={value}."
            )
