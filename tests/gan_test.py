"""The train step against compare_gan's numbers and a plain copy; its properties."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from oracles import (
    assert_close,
    assert_equal,
    tiny_discriminator,
    tiny_generator,
    values,
)

from ssgan_tf import losses, networks, penalties
from ssgan_tf.augmentation import Augmentation
from ssgan_tf.gan import GAN, Batch, Step
from ssgan_tf.latents import Latents
from ssgan_tf.layers import BatchNorm, ConditionalBatchNorm, SelfModulatedBatchNorm
from ssgan_tf.randomness import (
    AUGMENTATION_STREAM,
    PENALTY_STREAM,
    TRAINING_LABELS_STREAM,
    TRAINING_STREAM,
    Share,
)
from ssgan_tf.rotation import LabelAugmentedTask, MinimaxRotationTask, RotationTask
from ssgan_tf.tasks import ClassTask, Task

BATCH, LATENT_DIM, CLASSES = 8, 5, 3
LOSSES = {
    "hinge": losses.Hinge,
    "non_saturating": losses.NonSaturating,
    "wasserstein": losses.Wasserstein,
    "least_squares": losses.LeastSquares,
}
# A batch normalization after these biases removes any constant: their gradient is
# rounding noise, which Adam turns into whole steps.
WITHOUT_EFFECT = (
    "B1/up_conv1/bias",
    "B2/up_conv1/bias",
    "B2/up_conv_shortcut/bias",
    "B2/same_conv2/bias",
)
CONDITIONAL = {"num_classes": CLASSES, "norm": ConditionalBatchNorm}


sgd = keras.optimizers.SGD


def adam(rate=1e-3):
    return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9, epsilon=1e-8)


def compile_options(**options):
    """Arguments of `GAN.compile`."""
    return {
        "g_optimizer": sgd(0.1),
        "d_optimizer": sgd(0.1),
        # Smooth, and without the hinge's exact zero in the gradient of D's bias.
        "adversarial_loss": losses.NonSaturating(),
        "tasks": [RotationTask(rotated_batch_size=12)],
    } | options


def tiny_gan(
    *,
    norm=BatchNorm,
    num_classes=0,
    seed=0,
    average=False,
    discriminator=None,
    **options,
):
    """A GAN that can take a step.

    Args:
        discriminator: dict. Further arguments of D.
        options: see `compile_options`.
    """
    g_spec = {"norm": norm, "num_classes": num_classes}
    d_spec = {"num_classes": num_classes} | (discriminator or {})
    gan = GAN(
        tiny_generator(**g_spec),
        tiny_discriminator(**d_spec),
        latents=Latents(LATENT_DIM),
        seed=seed,
        average=tiny_generator(seed=99, **g_spec) if average else None,
    )
    gan.compile(**compile_options(**options))
    return gan


@functools.cache
def idle_gan(**options):
    """A GAN for tests that take no step."""
    return tiny_gan(**options)


def real_images(num=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, 8, 8, 3)).astype("uint8")


def real_labels(num=BATCH, seed=0):
    """Every third label is unknown."""
    labels = np.random.default_rng(100 + seed).integers(0, CLASSES, num)
    labels[::3] = -1
    return labels


def take_steps(gan, num, seed=0):
    logs = []
    for step in range(num):
        images = tf.constant(real_images(BATCH * gan.d_steps, seed=seed + step))
        data = images
        if gan.num_classes:
            labels = real_labels(BATCH * gan.d_steps, seed=seed + step)
            data = images, tf.constant(labels)
        logs.append(gan.train_step(data))
    return [{name: float(value) for name, value in log.items()} for log in logs]


def dataset(num_steps, d_steps=1, seed=0):
    batches = np.stack(
        [real_images(BATCH * d_steps, seed=seed + step) for step in range(num_steps)]
    )
    labels = np.zeros(batches.shape[:2], "int64")
    return tf.data.Dataset.from_tensor_slices((batches, labels))


def state(gan):
    """All variables that a step may change."""
    average = [] if gan.average is None else gan.average.variables
    return values(
        [
            *gan.generator.variables,
            *gan.discriminator.variables,
            *gan.g_optimizer.variables,
            *gan.d_optimizer.variables,
            *average,
        ]
    )


def assert_all_moved(model, before):
    for variable, then in zip(model.trainable_variables, before, strict=True):
        if not variable.path.endswith(WITHOUT_EFFECT):
            assert (np.array(variable) != then).any(), variable.path


# ------------------------------------------------------------------------ compare_gan


WHOLE = Share(0, 1)


def update_discriminator(gan, reals, fakes):
    """The first update of D of a step, on the whole batch."""
    gradients, logs = Step(gan, WHOLE).d_gradients(reals, fakes, 0)
    gan.update_discriminator(gradients)
    return logs


def update_generator(gan, fakes, g_tape):
    """The update of G, on the whole batch."""
    gradients, logs = Step(gan, WHOLE).g_gradients(fakes, g_tape)
    gan.update_generator(gradients)
    return logs


def generate(generator, latents, labels=None):
    """Fakes and the tape of the pass through G."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([v.value for v in generator.trainable_variables])
        images = generator(latents, training=True)
    return Batch(images, labels), tape


class Recorder(keras.optimizers.SGD):
    """An optimizer that stores its gradients and changes nothing."""

    def __init__(self):
        super().__init__(0.0)
        self.gradients = {}

    def apply_gradients(self, grads_and_vars):
        grads_and_vars = list(grads_and_vars)
        self.gradients = {v.path: np.array(g) for g, v in grads_and_vars}
        return super().apply_gradients(grads_and_vars)


class Pictures(keras.Model):
    """A generator whose only weight is its images."""

    def __init__(self, images):
        super().__init__()
        self.images = self.add_weight(shape=images.shape, name="images")
        self.images.assign(images)
        self.built = True

    def call(self, latents, labels=None, training=False):
        # The images depend on the noise formally, as in a generator.
        return tf.convert_to_tensor(self.images) + 0.0 * tf.reduce_sum(latents)


# Reference, setting -> adversarial loss, images in the rotation loss, arguments of D.
RUNS = {
    **{("ssgan_losses", name): (loss, 8, {}) for name, loss in LOSSES.items()},
    ("ssgan_cond", "hinge"): (losses.Hinge, 8, {"num_classes": 10}),
    **{
        ("s3gan_losses", name): (
            losses.Hinge,
            4,
            {
                "num_classes": 10,
                "class_predictor": True,
                "soft_predictions": name != "hard_pred",
            },
        )
        for name in ("soft_pred", "hard_pred", "last_unlabelled_soft", "no_labels_soft")
    },
}
# One pre-activation in "ssgan_losses" is 2e-7 from zero, and some norms change by 4e-4
# with its sign after rounding. As in compare_gan's run, numbers up to this count as 0.
ZERO = {"ssgan_losses": 3e-7, "ssgan_cond": 0.0, "s3gan_losses": 0.0}


@functools.cache
def reference_discriminator(**spec):
    spec = networks.DiscriminatorSpec(
        image_shape=(32, 32, 3), rotation_classes=4, spectral_norm="left", **spec
    )
    return networks.build_discriminator("resnet_cifar", spec)


def reference_names(discriminator, known):
    """Our variables by compare_gan's names."""
    names = {}
    for variable in discriminator.variables:
        name = oracles.reference_name(variable.path)
        if name not in known:  # S3GAN names its projection differently.
            name = name.replace("/embedding_fc/", "_projection/")
        names[name] = variable
    return names


@pytest.mark.parametrize(("run", "name"), RUNS)
def test_losses_and_gradients_of_compare_gan(monkeypatch, run, name):
    monkeypatch.setattr(tf.nn, "relu", lambda x: tf.where(x > ZERO[run], x, 0.0))
    adversarial_loss, rotated_batch_size, spec = RUNS[run, name]
    settings, numbers = oracles.load_reference(run)
    vectors = settings.get("u_norm_first_entries")
    settings = settings[name]
    vectors = vectors or settings["u_norm_first_entries"]
    norms = settings["grad_norms"]
    reals, fakes = numbers["images"], numbers["generated"]
    if reals.dtype == np.uint8:
        reals, fakes = (x.astype("float32") / np.float32(255) for x in (reals, fakes))
    labels = fake_labels = None
    if spec:
        labels = tf.constant(settings.get("labels", numbers["labels"]), tf.int32)
        fake_labels = tf.constant(numbers["fake_labels"])

    discriminator = reference_discriminator(**spec)
    named = reference_names(discriminator, {*norms, *vectors})
    assert set(named) == {*norms, *vectors}
    generator = Pictures(fakes)
    generator.num_classes = spec.get("num_classes", 0)
    tasks = [RotationTask(rotated_batch_size, d_weight=1.0, g_weight=0.2)]
    if "class_predictor" in spec:
        tasks.append(ClassTask(10, weight=1.0))
    gan = GAN(generator, discriminator, latents=Latents(2))
    gan.compile(
        g_optimizer=Recorder(),
        d_optimizer=Recorder(),
        adversarial_loss=adversarial_loss(),
        tasks=tasks,
    )
    reals = Batch(tf.constant(reals), labels)
    fakes, g_tape = generate(gan.generator, tf.zeros((8, 2)), fake_labels)

    def start():
        for path, variable in named.items():
            value = oracles.reference_weight(path, tuple(variable.shape))
            variable.assign(value)

    # compare_gan's losses are from one pass through D: both updates start from the same
    # weights and vectors.
    start()
    d_logs = update_discriminator(gan, reals, fakes)
    np.testing.assert_allclose(d_logs["loss/d"], settings["d_loss"], atol=1e-5)
    for path, expected in norms.items():
        gradient = gan.d_optimizer.gradients[named[path].path]
        norm = np.linalg.norm(np.float64(gradient))
        np.testing.assert_allclose(norm, expected, rtol=1e-4, atol=1e-6, err_msg=path)
    check_vectors(named, vectors)

    start()
    g_logs = update_generator(gan, fakes, g_tape)
    np.testing.assert_allclose(g_logs["loss/g"], settings["g_loss"], atol=1e-5)
    (gradient,) = gan.g_optimizer.gradients.values()
    check_gradient_by_images(gradient, name, numbers)
    check_vectors(named, vectors)


def check_gradient_by_images(gradient, name, numbers):
    expected = numbers.get(f"{name}/grad_g_loss_wrt_generated")
    if expected is None:  # The same in all settings, at every second pixel.
        expected = numbers["grad_g_loss_wrt_generated"]
        gradient = gradient[:, ::2, ::2]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    # Its entries are below 1e-5, so the whole is checked too.
    error = np.linalg.norm(gradient - expected)
    assert error < 3e-3 * np.linalg.norm(expected)


def check_vectors(named, first_entries):
    for path, entries in first_entries.items():
        ours = np.array(named[path])[:3, 0]
        np.testing.assert_allclose(ours, entries, atol=1e-5, err_msg=path)


# ----------------------------------------------------------------------- a plain copy


class Outputs(NamedTuple):
    """D's outputs for one player's images.

    Attributes:
        batch: dict of the outputs for the batch.
        rotated: rotation logits of the images in all four orientations.
        labels: labels of the batch.
    """

    batch: dict
    rotated: tf.Tensor | None
    labels: tf.Tensor | None


class Objective(NamedTuple):
    """The losses of a plain copy of the step.

    Attributes:
        players: `(real, fake)`, two `Outputs`, -> L_D, L_G and the logs of both.
        chosen: the images of a batch that D sees in orientation k.
        augment: takes reals and fakes as one batch, the number of the pass through D,
            and whether the pass is G's.
        penalty: None, or `(D, reals, fakes, update=)` -> penalty; reals are images and
            labels.
        penalty_weight: float.
    """

    players: object
    chosen: object = lambda batch, k: batch[-NUM_ROTATED:]
    augment: object = lambda images, draw, of_g: images
    penalty: object = None
    penalty_weight: float = 0.0


SEED, NUM_ROTATED = 7, 3


def minus_log_sigmoid(logits):
    return tf.reduce_mean(tf.math.log1p(tf.exp(-logits)))


def entropy(logits, classes):
    log_q = tf.one_hot(classes, logits.shape[1]) * tf.nn.log_softmax(logits)
    return -tf.reduce_mean(tf.reduce_sum(log_q, axis=1))


def turns(logits):
    return np.repeat([0, 1, 2, 3], len(logits) // 4)


def accuracy(logits):
    odds = np.exp(logits)
    likely = odds[:, :4] + (odds[:, 4:] if odds.shape[1] == 8 else 0.0)
    return np.mean(likely.argmax(axis=1) == turns(logits))


def adversarial(real, fake):
    real_logits, fake_logits = real.batch["logits"], fake.batch["logits"]
    d_loss = minus_log_sigmoid(real_logits) + minus_log_sigmoid(-fake_logits)
    return d_loss, minus_log_sigmoid(fake_logits), {}, {}


def rotation_only(real, fake):
    real_loss = entropy(real.rotated, turns(real.rotated))
    fake_loss = entropy(fake.rotated, turns(fake.rotated))
    d_logs = {
        "loss/rotation_real": real_loss,
        "accuracy/rotation_real": accuracy(real.rotated),
    }
    g_logs = {
        "loss/rotation_fake": fake_loss,
        "accuracy/rotation_fake": accuracy(fake.rotated),
    }
    return 1.0 * real_loss, 0.2 * fake_loss, d_logs, g_logs


def in_opposition(fake_classes, alpha=0.2):
    """SS-GAN-MS and SSGAN-LA: D has classes for rotated fakes, which G avoids."""

    def players(real, fake):
        d_loss, _, d_logs, g_logs = rotation_only(real, fake)
        as_fakes = entropy(fake.rotated, fake_classes(turns(fake.rotated)))
        as_reals = g_logs["loss/rotation_fake"]
        d_logs["loss/rotation_d_fake"] = as_fakes
        g_logs["loss/rotation_fake"] = as_reals - as_fakes
        return d_loss + as_fakes, alpha * (as_reals - as_fakes), d_logs, g_logs

    return players


def with_labels(real, fake):
    logits, labels = real.batch["class_logits"], real.labels
    known = np.flatnonzero(labels >= 0)
    labels, logits = labels[known], tf.gather(logits, known)
    loss = entropy(logits, labels)
    hits = np.mean(np.argmax(logits, axis=1) == labels)
    return 0.5 * loss, 0.0, {"loss/class_real": loss, "accuracy/class_real": hits}, {}


def total(*terms):
    def players(real, fake):
        d_loss, g_loss, d_logs, g_logs = 0.0, 0.0, {}, {}
        for term in terms:
            d_term, g_term, d_more, g_more = term(real, fake)
            d_loss, g_loss = d_loss + d_term, g_loss + g_term
            d_logs, g_logs = d_logs | d_more, g_logs | g_more
        return d_loss, g_loss, d_logs, g_logs

    return players


def squared_slopes(discriminator, points, labels):
    with tf.GradientTape() as tape:
        tape.watch(points)
        logits = discriminator(points, labels, training=False)["logits"]
    return tf.reduce_sum(tape.gradient(logits, points) ** 2, axis=[1, 2, 3])


def noise_seed(stream, draw):
    return tf.random.experimental.stateless_fold_in(
        tf.constant([SEED, stream], tf.int64), tf.constant(draw, tf.int64)
    )


def slope_one_between(discriminator, reals, fakes, *, update):
    images, labels = reals
    share = oracles.uniform((BATCH, 1, 1, 1), noise_seed(PENALTY_STREAM, update))
    points = (1 - share) * images + share * fakes
    slopes = tf.sqrt(1e-4 + squared_slopes(discriminator, points, labels))
    return tf.reduce_mean((slopes - 1) ** 2)


def slope_zero_every_second_time(discriminator, reals, fakes, *, update):
    if update in (1, 3, 5, 7):
        return tf.zeros([])
    return 2 * 0.5 * tf.reduce_mean(squared_slopes(discriminator, *reals))


SHIFTS_AND_HOLES = Augmentation(("translation", "cutout"))


def shifted_and_cut(images, draw, of_g):
    # G's own pass shows no reals.
    rows = BATCH if of_g else 2 * BATCH
    noise = oracles.uniform((rows, 4), noise_seed(AUGMENTATION_STREAM, draw))
    noise = np.concatenate([np.zeros((2 * BATCH - rows, 4), "float32"), noise])
    return SHIFTS_AND_HOLES(images, tf.constant(noise))


class Descent:
    """Gradient descent."""

    def __init__(self, rate):
        self.rate = rate

    def update(self, weights, gradients):
        return [w - self.rate * g for w, g in zip(weights, gradients, strict=True)]


def run_plainly(discriminator, reals, fakes, objective, *noise):
    """D's outputs for reals, rotated reals, fakes and rotated fakes, in one pass.

    Args:
        reals, fakes: images and labels, or None.
        noise: further arguments of `objective.augment`.
    """
    chosen = objective.chosen
    pieces, piece_labels = [], []
    for images, labels in (reals, fakes):
        pieces += [images, *(tf.image.rot90(chosen(images, k), k) for k in range(4))]
        if labels is not None:
            piece_labels += [labels, *(chosen(labels, k) for k in range(4))]
    piece_labels = np.concatenate(piece_labels) if piece_labels else None
    images = objective.augment(tf.concat(pieces, axis=0), *noise)
    outputs = discriminator(images, piece_labels, training=True)
    results = []
    for i, (_, labels) in enumerate((reals, fakes)):
        half = {name: tf.split(output, 2)[i] for name, output in outputs.items()}
        batch = {name: output[:BATCH] for name, output in half.items()}
        rotated = half["rotation_logits"][BATCH:] if "rotation_logits" in half else None
        results.append(Outputs(batch, rotated, labels))
    return results


def descend(optimizer, tape, loss, model):
    """One step of a NumPy optimizer, in float64."""
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    updated = optimizer.update(
        [np.float64(v) for v in variables], [np.float64(g) for g in gradients]
    )
    for variable, weight in zip(variables, updated, strict=True):
        variable.assign(weight.astype("float32"))


def plain_step(networks, optimizers, data, *, step, d_steps, objective):
    """One step as in compare_gan, without shared passes and without omissions.

    Reals, rotated reals, fakes and rotated fakes pass through D in every update, one
    tape records everything, the optimizers are NumPy's.
    """
    generator, discriminator = networks
    g_optimizer, d_optimizer = optimizers
    logs = {}

    def log(scalars):
        for name, value in scalars.items():
            logs.setdefault(name, []).append(float(value))

    for j in range(d_steps):
        update, rows = step * d_steps + j, slice(j * BATCH, (j + 1) * BATCH)
        draw = step * (d_steps + 1) + j
        reals = [None if array is None else array[rows] for array in data]
        fake_labels = None
        seed = noise_seed(TRAINING_STREAM, update)
        latents = 2 * oracles.uniform((BATCH, LATENT_DIM), seed) - 1
        if reals[1] is not None:
            seed = noise_seed(TRAINING_LABELS_STREAM, update)
            bits = oracles.random_bits((BATCH,), seed)
            fake_labels = (bits % CLASSES).astype(np.int32)
        with tf.GradientTape(persistent=True) as tape:
            fakes = generator(latents, fake_labels, training=True), fake_labels
            real, fake = run_plainly(
                discriminator, reals, fakes, objective, draw, False
            )
            loss, _, d_logs, _ = objective.players(real, fake)
            if objective.penalty is not None:
                penalty = objective.penalty(
                    discriminator, reals, fakes[0], update=update
                )
                loss += objective.penalty_weight * penalty
                log({"loss/penalty": penalty})
            log(d_logs | {"loss/d": loss})
            log({"logits/real": tf.reduce_mean(real.batch["logits"])})
            log({"logits/fake": tf.reduce_mean(fake.batch["logits"])})
            with tape.stop_recording():
                descend(d_optimizer, tape, loss, discriminator)
            if j == d_steps - 1:
                real, fake = run_plainly(
                    discriminator, reals, fakes, objective, draw + 1, True
                )
                _, loss, _, g_logs = objective.players(real, fake)
                log(g_logs | {"loss/g": loss})
        if j == d_steps - 1:
            descend(g_optimizer, tape, loss, generator)
    return {name: np.mean(values) for name, values in logs.items()}


def assert_steps_equal_the_plain_copy(
    objective, optimizers, num_steps=2, discriminator=None, **options
):
    """Takes steps in both ways."""
    gan = tiny_gan(seed=SEED, discriminator=discriminator, **options)
    nets = {"num_classes": gan.num_classes}
    g_copy = tiny_generator(norm=options.get("norm", BatchNorm), **nets)
    d_copy = tiny_discriminator(**nets, **(discriminator or {}))
    for step in range(num_steps):
        images = real_images(BATCH * gan.d_steps, seed=step)
        labels = None
        if gan.num_classes:
            labels = real_labels(BATCH * gan.d_steps, seed=step).astype("int32")
        data = (tf.constant(images), labels) if gan.num_classes else tf.constant(images)
        logs = gan.train_step(data)
        expected = plain_step(
            (g_copy, d_copy),
            optimizers,
            (tf.constant(images / np.float32(255)), labels),
            step=step,
            d_steps=gan.d_steps,
            objective=objective,
        )
        if "logits/fake" not in gan.log_names:
            del expected["logits/fake"]
        assert set(logs) == set(expected) == set(gan.log_names)
        for name, value in expected.items():
            np.testing.assert_allclose(
                logs[name], value, rtol=1e-5, atol=1e-6, err_msg=name
            )
        for ours, theirs in zip(gan.generator.variables, g_copy.variables, strict=True):
            if ours.path.endswith(WITHOUT_EFFECT):
                theirs.assign(np.array(ours))
        assert_close(gan.generator, g_copy, 1e-5, 2e-6)
        assert_close(gan.discriminator, d_copy, 1e-5, 2e-6)
    assert gan.step == num_steps
    assert int(gan.d_optimizer.iterations) == num_steps * gan.d_steps


@pytest.mark.parametrize(
    ("norm", "d_steps"), [(BatchNorm, 1), (SelfModulatedBatchNorm, 2)]
)
def test_step_equals_the_plain_copy(norm, d_steps):
    assert_steps_equal_the_plain_copy(
        Objective(total(adversarial, rotation_only)),
        (oracles.NumpyAdam(1e-3), oracles.NumpyAdam(1e-3)),
        norm=norm,
        d_steps=d_steps,
        g_optimizer=adam(),
        d_optimizer=adam(),
    )


# Every objective as a plain copy, and as arguments of `tiny_gan`.
OBJECTIVES = {
    "each image in one orientation": (
        Objective(
            total(adversarial, rotation_only),
            chosen=lambda batch, k: batch[2 * k : 2 * k + 2],
        ),
        {**CONDITIONAL, "tasks": [RotationTask(8, each_in_one=True)], "d_steps": 2},
    ),
    "augmentation": (
        Objective(
            adversarial,
            chosen=lambda batch, k: batch[:0],
            augment=shifted_and_cut,
        ),
        {"tasks": [], "augmentation": SHIFTS_AND_HOLES, "d_steps": 2},
    ),
    "rotation alone": (
        Objective(rotation_only),
        {"adversarial_loss": None},
    ),
    "minimax": (
        Objective(
            total(adversarial, in_opposition(lambda turns: np.full_like(turns, 4)))
        ),
        {
            **CONDITIONAL,
            "discriminator": {"rotation_classes": 5},
            "tasks": [MinimaxRotationTask(12)],
        },
    ),
    "label augmentation": (
        Objective(in_opposition(lambda turns: 4 + turns, alpha=1.0)),
        {
            "discriminator": {"rotation_classes": 8},
            "adversarial_loss": None,
            "tasks": [LabelAugmentedTask(12, 1, 1)],
        },
    ),
    "few labels": (
        Objective(total(adversarial, rotation_only, with_labels)),
        {
            **CONDITIONAL,
            "discriminator": {"class_predictor": True, "soft_predictions": True},
            "tasks": [RotationTask(12), ClassTask(CLASSES, weight=0.5)],
        },
    ),
    "few labels, whole predictions": (
        Objective(total(adversarial, with_labels)),
        {
            **CONDITIONAL,
            "discriminator": {"class_predictor": True, "rotation_classes": 0},
            "tasks": [ClassTask(CLASSES, weight=0.5)],
        },
    ),
    "gradient penalty": (
        Objective(adversarial, penalty=slope_one_between, penalty_weight=3.0),
        {
            **CONDITIONAL,
            "tasks": [],
            "penalty": penalties.WganGP(),
            "penalty_weight": 3.0,
        },
    ),
    "lazy penalty": (
        Objective(
            adversarial, penalty=slope_zero_every_second_time, penalty_weight=5.0
        ),
        {
            "tasks": [],
            "penalty": penalties.R1(),
            "penalty_weight": 5.0,
            "penalty_interval": 2,
        },
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_equals_the_plain_copy(name):
    objective, options = OBJECTIVES[name]
    # The numbers of these depend on the step.
    num_steps = 2 if name in ("augmentation", "lazy penalty") else 1
    assert_steps_equal_the_plain_copy(
        objective,
        (Descent(0.5), Descent(0.2)),
        num_steps,
        g_optimizer=sgd(0.5),
        d_optimizer=sgd(0.2),
        **options,
    )


# --------------------------------------------------------------------------- properties


WITHOUT_WEIGHT = {
    "rotation": {"tasks": [RotationTask(12, 0.0, 0.0)]},
    "minimax": {"tasks": [MinimaxRotationTask(12, 0.0, 0.0)]},
    "classes": {"tasks": [ClassTask(CLASSES, weight=0.0)]},
    "lazy penalty": {
        "penalty": penalties.R1(),
        "penalty_weight": 0.0,
        "penalty_interval": 2,
    },
}


@pytest.mark.parametrize("name", WITHOUT_WEIGHT)
def test_without_weight_the_step_is_that_of_a_plain_gan_bit_for_bit(name):
    spec = {}
    if name == "classes":
        spec = CONDITIONAL | {"discriminator": {"class_predictor": True}}
    if name == "minimax":
        spec = {"discriminator": {"rotation_classes": 5}}
    weightless, plain = (
        tiny_gan(**{"tasks": []} | spec | settings)
        for settings in (WITHOUT_WEIGHT[name], {})
    )
    # The lazy penalty acts in the first step and not in the second.
    num_steps = 2 if "lazy" in name else 1
    logs = {gan: take_steps(gan, num_steps) for gan in (weightless, plain)}
    assert_equal(state(weightless), state(plain))
    for ours, theirs in zip(*logs.values(), strict=True):
        assert set(theirs) == {"loss/d", "loss/g", "logits/real", "logits/fake"}
        assert {key: ours[key] for key in theirs} == theirs


def test_weights_in_no_loss_do_not_change():
    task = RotationTask(12, d_weight=1.0, g_weight=0.0)
    gan = tiny_gan(adversarial_loss=None, tasks=[task], g_optimizer=adam())
    before = values(gan.generator.trainable_variables)
    rotation_head = values(gan.discriminator.rotation_head.trainable_variables)
    take_steps(gan, 1)
    assert_equal(values(gan.generator.trainable_variables), before)
    assert_all_moved(gan.discriminator.rotation_head, rotation_head)


def test_average_follows_its_closed_form():
    decay, start, steps = 0.7, 2, 5
    gan = tiny_gan(average=True, ema_decay=decay, ema_start_step=start)
    generator, rng = gan.generator, np.random.default_rng(0)
    assert gan.sampler is gan.average
    assert_equal(gan.average, generator)
    history = [values(generator.trainable_variables)]
    for step in range(steps):
        gradients = [rng.normal(size=v.shape) for v in generator.trainable_variables]
        for variable in generator.non_trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
        gan.update_generator([tf.constant(g, tf.float32) for g in gradients])
        history.append(values(generator.trainable_variables))
        if step < start:
            assert_equal(gan.average, generator)
    # history[start] are the last weights that were copied.
    for i, mean in enumerate(values(gan.average.trainable_variables)):
        expected = decay ** (steps - start) * np.float64(history[start][i])
        for step in range(start, steps):
            share = (1 - decay) * decay ** (steps - 1 - step)
            expected += share * np.float64(history[step + 1][i])
        np.testing.assert_allclose(mean, expected, atol=1e-6)
    copies = gan.average.non_trainable_variables
    assert_equal(copies, generator.non_trainable_variables)


def test_the_step_number_can_be_read_under_two_replicas(two_replicas):
    with two_replicas.scope():
        gan = tiny_gan()
    assert gan.step == 0 and gan.sampler is gan.generator


# -------------------------------------------------------------------------------- fit


def test_a_rollback_changes_the_noise():
    gan = tiny_gan()
    before = Step(gan, WHOLE).latents(BATCH, 0)
    gan.rollbacks.assign(1)
    after = Step(gan, WHOLE).latents(BATCH, 0)
    # It is neither the noise before nor that of a run with the next seed.
    gan.rollbacks.assign(0)
    gan.seed += 1
    for other in (before, Step(gan, WHOLE).latents(BATCH, 0)):
        assert np.all(after != other)


def dense_generator():
    return keras.Sequential(
        [
            keras.layers.Dense(8 * 8 * 3, activation="sigmoid"),
            keras.layers.Reshape((8, 8, 3)),
        ]
    )


def functional_discriminator(**heads):
    images = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(6, 3, strides=2, activation="relu")(images)
    hidden = keras.layers.Flatten()(hidden)
    heads = {"logits": 1} | heads
    outputs = {name: keras.layers.Dense(num)(hidden) for name, num in heads.items()}
    return keras.Model(images, outputs)


def keras_gan(**options):
    """A GAN of Keras's own models, always with the same weights."""
    keras.utils.set_random_seed(0)
    # Without an input layer a network has no variables before its first call.
    gan = GAN(
        dense_generator(),
        functional_discriminator(rotation_logits=4),
        latents=Latents(LATENT_DIM),
        average=dense_generator(),
    )
    gan.compile(**compile_options(tasks=[RotationTask(8)], ema_decay=0.5, **options))
    return gan


def test_fit_reports_the_means_of_the_steps_of_a_call():
    penalty = {"penalty": penalties.WganGP(), "penalty_interval": 2}
    fitted, stepped = keras_gan(**penalty, steps_per_execution=2), keras_gan(**penalty)
    players = fitted.generator, fitted.discriminator
    before = [values(player.trainable_variables) for player in players]
    history = fitted.fit(dataset(4), steps_per_epoch=2, epochs=2, verbose=0).history
    logs = take_steps(stepped, 4)
    assert fitted.step == 4 and set(history) == set(fitted.log_names)
    for name, epochs in history.items():
        expected = np.mean([[log[name] for log in logs[i : i + 2]] for i in (0, 2)], 1)
        np.testing.assert_allclose(epochs, expected, rtol=1e-4, atol=1e-6)
    assert_close(state(fitted), state(stepped), rtol=1e-4, atol=1e-5)
    for player, then in zip(players, before, strict=True):
        assert_all_moved(player, then)
    # The first update has a penalty.
    acts = [log["loss/penalty"] != 0.0 for log in logs]
    assert acts == [True, False, True, False]


def test_uint8_and_float_images_agree():
    images = real_images()
    gans = [keras_gan() for _ in range(3)]
    gans[0].train_step(tf.constant(images))
    gans[1].train_step(tf.constant(images.astype("float32") / np.float32(255)))
    gans[2].train_step((tf.constant(images), tf.zeros(BATCH, tf.int64)))
    for gan in gans[1:]:
        assert_close(state(gan), state(gans[0]))


class FlipTask(Task):
    """D predicts whether real images are mirrored; G makes that predictable."""

    heads = {"flip_logits": 1}
    d_log_names = ("loss/flip_real",)
    g_log_names = ("loss/flip_fake",)

    def extra_images(self, images, num_shares):
        return images[:, :, ::-1]

    def entropy(self, outputs):
        return minus_log_sigmoid(outputs.upright["flip_logits"]) + minus_log_sigmoid(
            -outputs.extra["flip_logits"]
        )

    def d_loss(self, real, fake, step):
        loss = self.entropy(real)
        return loss, {"loss/flip_real": loss}

    def g_loss(self, fake, step):
        loss = self.entropy(fake)
        return loss, {"loss/flip_fake": loss}


def test_a_task_of_the_users_own_trains_beside_another():
    discriminator = functional_discriminator(flip_logits=1, rotation_logits=4)
    gan = GAN(dense_generator(), discriminator, latents=Latents(LATENT_DIM))
    gan.compile(
        g_optimizer=adam(0.01),
        d_optimizer=adam(0.01),
        adversarial_loss=losses.Hinge(),
        tasks=[FlipTask(), RotationTask(8)],
        steps_per_execution=10,
    )
    images = real_images(10 * BATCH)
    images[:, :, :4] //= 3  # The left half is dark.
    data = (
        tf.data.Dataset.from_tensor_slices(images)
        .batch(BATCH, drop_remainder=True)
        .repeat()
    )
    history = gan.fit(data, steps_per_epoch=20, epochs=3, verbose=0).history
    assert set(history) == set(gan.log_names)
    for side in ("real", "fake"):
        first, *_, last = history[f"loss/flip_{side}"]
        assert last < 0.5 * first and last < 0.7  # chance is 2 log 2


COUNTS = ("d_steps", "accumulate", "penalty_interval", "steps_per_execution")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: n}, f"{name}={n}") for name in COUNTS for n in (0, 2.5)),
        ({"tasks": [MinimaxRotationTask(8)]}, "MinimaxRotationTask.* 5 columns.*: 4"),
        ({"tasks": [LabelAugmentedTask(8)]}, "LabelAugmentedTask.* 8 columns.*: 4"),
        ({"tasks": [ClassTask(3)]}, "ClassTask.*'class_logits'"),
        ({"tasks": [FlipTask()]}, "FlipTask.*'flip_logits'"),
        ({"adversarial_loss": None, "tasks": []}, "adversarial_loss=None"),
    ],
)
def test_refuses_settings(options, message):
    with pytest.raises(ValueError, match=message):
        idle_gan().compile(**compile_options(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 3}, "num_classes=3"),
        (
            {"discriminator": {"num_classes": 4}},
            "generator.num_classes=0, discriminator.num_classes=4",
        ),
        ({"discriminator": {"image_shape": (8, 8, 1)}}, r"\(8, 8, 3\).*\(8, 8, 1\)"),
    ],
)
def test_refuses_networks(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_gan(**options)


def test_refuses_a_discriminator_without_logits():
    images = keras.Input((8, 8, 3))
    score = keras.layers.Dense(1)(keras.layers.Flatten()(images))
    for outputs, name in ((score, "KerasTensor"), ({"score": score}, "'score'")):
        with pytest.raises(ValueError, match=f"Received: .*{name}"):
            discriminator = keras.Model(images, outputs)
            GAN(tiny_generator(), discriminator, latents=Latents(LATENT_DIM))


@pytest.mark.parametrize(
    ("options", "shape", "dtype", "message"),
    [
        ({"d_steps": 2}, (7, 8, 8, 3), "uint8", "7 images, d_steps=2"),
        ({}, (8, 8, 8, 3), "int32", "images.dtype=int32"),
        ({}, (None, 8, 8, 3), "uint8", r"images.shape=\(None, 8, 8, 3\)"),
        ({}, (8, 8, 3), "uint8", r"images.shape=\(8, 8, 3\)"),
        (CONDITIONAL, (8, 8, 8, 3), "uint8", r"\(images, labels\)"),
        ({"tasks": [RotationTask(36)]}, (8, 8, 8, 3), "uint8", "batch_size=8"),
        # 12 rotated images are no multiple of 4 x 2 pieces.
        ({"accumulate": 2}, (8, 8, 8, 3), "uint8", "rotated_batch_size=12, shares=2"),
        ({"accumulate": 3}, (8, 8, 8, 3), "uint8", "8 images, d_steps=1, accumulate=3"),
    ],
)
def test_refuses_data(options, shape, dtype, message):
    gan = idle_gan(**CONDITIONAL) if options is CONDITIONAL else idle_gan()
    gan.compile(**compile_options(**{} if options is CONDITIONAL else options))
    step = tf.function(gan.train_step)
    with pytest.raises(ValueError, match=message):
        step.get_concrete_function(tf.TensorSpec(shape, dtype))
