"""The train step against compare_gan's numbers and a plain copy; its properties."""

from typing import NamedTuple

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from oracles import tiny_discriminator, tiny_generator, values

from ssgan_tf import losses, networks, penalties
from ssgan_tf.augmentation import Augmentation
from ssgan_tf.gan import GAN, Batch, step_labels, step_latents
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


def sgd(rate):
    return keras.optimizers.SGD(rate)


def adam(rate=1e-3):
    return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9, epsilon=1e-8)


def tiny_gan(
    *,
    norm=BatchNorm,
    num_classes=0,
    seed=0,
    average=False,
    discriminator=None,
    weights_seed=0,
    **options,
):
    """A GAN that can take a step.

    Args:
        discriminator: dict. Further arguments of D.
        options: arguments of `GAN.compile`.
    """
    g_spec = {"norm": norm, "num_classes": num_classes}
    d_spec = {"num_classes": num_classes} | (discriminator or {})
    gan = GAN(
        tiny_generator(seed=weights_seed, **g_spec),
        tiny_discriminator(seed=weights_seed + 1, **d_spec),
        latents=Latents(LATENT_DIM),
        seed=seed,
        average=tiny_generator(seed=99, **g_spec) if average else None,
    )
    options = {
        "g_optimizer": sgd(0.1),
        "d_optimizer": sgd(0.1),
        # Smooth, and without the hinge's exact zero in the gradient of D's bias.
        "adversarial_loss": losses.NonSaturating(),
        "tasks": [RotationTask(rotated_batch_size=12)],
    } | options
    gan.compile(**options)
    return gan


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


def assert_equal(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_close(ours, expected, rtol=1e-5, atol=1e-6):
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def assert_all_moved(model, before):
    for variable, then in zip(model.trainable_variables, before, strict=True):
        if not variable.path.endswith(WITHOUT_EFFECT):
            assert (np.array(variable) != then).any(), variable.path


# ------------------------------------------------------------------------ compare_gan


WHOLE = Share(0, 1)


def update_discriminator(gan, reals, fakes):
    """The first update of D of a step, on the whole batch."""
    gradients, logs = gan.d_gradients(reals, fakes, 0, WHOLE)
    gan.update_discriminator(gradients)
    return logs


def update_generator(gan, fakes, g_tape):
    """The update of G, on the whole batch."""
    gradients, logs = gan.g_gradients(fakes, g_tape, WHOLE)
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


@pytest.fixture(scope="module")
def reference_discriminator():
    made = {}

    def get(**spec):
        key = tuple(spec.items())
        if key not in made:
            made[key] = networks.build_discriminator(
                "resnet_cifar",
                networks.DiscriminatorSpec(
                    image_shape=(32, 32, 3),
                    rotation_classes=4,
                    spectral_norm="left",
                    **spec,
                ),
            )
        return made[key]

    return get


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
def test_losses_and_gradients_of_compare_gan(
    reference_discriminator, monkeypatch, run, name
):
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
        penalty: None, or `(D, reals, fakes, update=)` -> penalty; reals are images and
            labels.
        penalty_weight: float.
    """

    players: object
    chosen: object = lambda batch, k: batch[-NUM_ROTATED:]
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


class Descent:
    """Gradient descent."""

    def __init__(self, rate):
        self.rate = rate

    def update(self, weights, gradients):
        return [w - self.rate * g for w, g in zip(weights, gradients, strict=True)]


def run_plainly(discriminator, reals, fakes, chosen):
    """D's outputs for reals, rotated reals, fakes and rotated fakes, in one pass.

    Args:
        reals, fakes: images and labels, or None.
        chosen: see `Objective`.
    """
    pieces, piece_labels = [], []
    for images, labels in (reals, fakes):
        pieces += [images, *(tf.image.rot90(chosen(images, k), k) for k in range(4))]
        if labels is not None:
            piece_labels += [labels, *(chosen(labels, k) for k in range(4))]
    piece_labels = np.concatenate(piece_labels) if piece_labels else None
    outputs = discriminator(tf.concat(pieces, axis=0), piece_labels, training=True)
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
            real, fake = run_plainly(discriminator, reals, fakes, objective.chosen)
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
                real, fake = run_plainly(discriminator, reals, fakes, objective.chosen)
                _, loss, _, g_logs = objective.players(real, fake)
                log(g_logs | {"loss/g": loss})
        if j == d_steps - 1:
            descend(g_optimizer, tape, loss, generator)
    return {name: np.mean(values) for name, values in logs.items()}


def assert_steps_equal_the_plain_copy(
    objective, optimizers, num_steps=2, discriminator=None, **options
):
    """Takes steps in both ways; returns the GAN and its logs."""
    gan = tiny_gan(seed=SEED, discriminator=discriminator, **options)
    nets = {"num_classes": gan.num_classes}
    g_copy = tiny_generator(norm=options.get("norm", BatchNorm), **nets)
    d_copy = tiny_discriminator(**nets, **(discriminator or {}))
    history = []
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
        assert_close(values(gan.generator), values(g_copy), 1e-5, 2e-6)
        assert_close(values(gan.discriminator), values(d_copy), 1e-5, 2e-6)
        history.append({name: float(value) for name, value in logs.items()})
    assert gan.step == num_steps
    assert int(gan.d_optimizer.iterations) == num_steps * gan.d_steps
    return gan, history


@pytest.mark.parametrize("norm", [BatchNorm, SelfModulatedBatchNorm])
@pytest.mark.parametrize("d_steps", [1, 2])
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
        {"tasks": [RotationTask(8, each_in_one=True)]},
    ),
    "minimax": (
        Objective(
            total(adversarial, in_opposition(lambda turns: np.full_like(turns, 4)))
        ),
        {
            "discriminator": {"rotation_classes": 5},
            "tasks": [MinimaxRotationTask(12)],
            "d_steps": 2,
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
    "conditional": (
        Objective(total(adversarial, rotation_only)),
        {**CONDITIONAL, "d_steps": 2},
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
            "tasks": [],
            "penalty": penalties.WganGP(),
            "penalty_weight": 3.0,
            "d_steps": 2,
        },
    ),
    "gradient penalty with labels": (
        Objective(adversarial, penalty=slope_one_between, penalty_weight=3.0),
        {
            **CONDITIONAL,
            "tasks": [],
            "penalty": penalties.WganGP(),
            "penalty_weight": 3.0,
        },
    ),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_equals_the_plain_copy(name):
    objective, options = OBJECTIVES[name]
    assert_steps_equal_the_plain_copy(
        objective,
        (Descent(0.5), Descent(0.5)),
        g_optimizer=sgd(0.5),
        d_optimizer=sgd(0.5),
        **options,
    )


@pytest.mark.parametrize(("d_steps", "acts"), [(1, [1, 0, 1, 0]), (3, [2 / 3, 1 / 3])])
def test_a_lazy_penalty_acts_on_every_second_update_of_d(d_steps, acts):
    _, logs = assert_steps_equal_the_plain_copy(
        Objective(
            adversarial, penalty=slope_zero_every_second_time, penalty_weight=5.0
        ),
        (Descent(0.1), Descent(0.1)),
        num_steps=len(acts),
        tasks=[],
        penalty=penalties.R1(),
        penalty_weight=5.0,
        penalty_interval=2,
        d_steps=d_steps,
    )
    for log, share in zip(logs, acts, strict=True):
        assert (log["loss/penalty"] > 0.0) == (share > 0.0)
        assert (log["loss/penalty"] == 0.0) == (share == 0.0)


def test_rotation_alone_does_not_train_the_true_fake_head():
    gan = tiny_gan()
    before = values(gan.discriminator.logit_head.trainable_variables)
    take_steps(gan, 1)
    assert_all_moved(gan.discriminator.logit_head, before)

    # Adam would turn gradients that are rounding noise into whole steps.
    gan = tiny_gan(adversarial_loss=None, g_optimizer=adam(), d_optimizer=adam())
    before = values(gan.discriminator.logit_head.trainable_variables)
    others = values(gan.discriminator.rotation_head.trainable_variables)
    take_steps(gan, 2)
    assert_equal(values(gan.discriminator.logit_head.trainable_variables), before)
    assert_all_moved(gan.discriminator.rotation_head, others)

    assert_steps_equal_the_plain_copy(
        Objective(rotation_only),
        (Descent(0.5), Descent(0.5)),
        adversarial_loss=None,
        g_optimizer=sgd(0.5),
        d_optimizer=sgd(0.5),
        d_steps=2,
    )


# --------------------------------------------------------------------------- properties


def test_an_update_touches_its_own_player_only():
    gan = tiny_gan()
    latents = Latents(LATENT_DIM).sample(BATCH, (0, 0))
    fakes, g_tape = generate(gan.generator, latents)
    players = gan.generator, gan.discriminator
    reals = Batch(tf.constant(real_images() / np.float32(255)), None)
    updates = (
        lambda: update_generator(gan, fakes, g_tape),
        lambda: update_discriminator(gan, reals, fakes),
    )
    for update, own, other in zip(updates, players, reversed(players), strict=True):
        own_before = values(own.trainable_variables)
        other_before = values(other.trainable_variables)
        update()
        assert_equal(values(other.trainable_variables), other_before)
        assert_all_moved(own, own_before)


@pytest.mark.parametrize("frozen", ["g", "d"])
def test_a_step_trains_with_the_players_own_optimizer(frozen):
    gan = tiny_gan(**{f"{frozen}_optimizer": sgd(0.0)})
    models = {"g": gan.generator, "d": gan.discriminator}
    before = {key: values(m.trainable_variables) for key, m in models.items()}
    take_steps(gan, 1)
    for key, model in models.items():
        if key == frozen:
            assert_equal(values(model.trainable_variables), before[key])
        else:
            assert_all_moved(model, before[key])


WITHOUT_WEIGHT = {
    "rotation": {"tasks": [RotationTask(12, 0.0, 0.0)]},
    "each in one": {"tasks": [RotationTask(8, 0, 0, each_in_one=True)]},
    "minimax": {"tasks": [MinimaxRotationTask(12, 0.0, 0.0)]},
    "classes": {"tasks": [ClassTask(CLASSES, weight=0.0)]},
    "penalty": {"penalty": penalties.WganGP(), "penalty_weight": 0.0},
    "lazy penalty": {
        "penalty": penalties.R1(),
        "penalty_weight": 0.0,
        "penalty_interval": 2,
    },
}


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(loss, marks=[] if name == "hinge" else pytest.mark.slow)
        for name, loss in LOSSES.items()
    ],
)
@pytest.mark.parametrize("name", WITHOUT_WEIGHT)
def test_without_weight_the_step_is_that_of_a_plain_gan_bit_for_bit(name, loss):
    spec = {}
    if name == "classes":
        spec = CONDITIONAL | {"discriminator": {"class_predictor": True}}
    if name == "minimax":
        spec = {"discriminator": {"rotation_classes": 5}}
    weightless, plain = (
        tiny_gan(**{"adversarial_loss": loss(), "tasks": []} | spec | settings)
        for settings in (WITHOUT_WEIGHT[name], {})
    )
    logs = {gan: take_steps(gan, 2) for gan in (weightless, plain)}
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
    for now, then in zip(
        values(gan.discriminator.rotation_head.trainable_variables),
        rotation_head,
        strict=True,
    ):
        assert (now != then).any()


def test_a_discriminator_without_rotation_head_trains_alike():
    plain = tiny_gan(tasks=[])
    headless = tiny_gan(tasks=[], discriminator={"rotation_classes": 0})
    shared = {v.path: v for v in plain.discriminator.variables}
    for variable in headless.discriminator.variables:
        variable.assign(np.array(shared[variable.path]))
    for gan in (plain, headless):
        take_steps(gan, 2)
    for variable in headless.discriminator.variables:
        np.testing.assert_array_equal(
            np.array(variable), np.array(shared[variable.path])
        )
    assert_equal(values(headless.generator), values(plain.generator))


def test_each_weight_scales_its_own_task():
    logs = {}
    for d_weight, g_weight in ((0.0, 0.0), (0.5, 0.0), (0.0, 3.0)):
        task = RotationTask(12, d_weight=d_weight, g_weight=g_weight)
        gan = tiny_gan(tasks=[task], d_optimizer=sgd(0.0), g_optimizer=sgd(0.0))
        (logs[d_weight, g_weight],) = take_steps(gan, 1)
    none, d_only, g_only = logs.values()
    assert "loss/rotation_fake" not in d_only and "loss/rotation_real" not in g_only
    np.testing.assert_allclose(
        d_only["loss/d"], none["loss/d"] + 0.5 * d_only["loss/rotation_real"], rtol=1e-5
    )
    np.testing.assert_allclose(
        g_only["loss/g"], none["loss/g"] + 3.0 * g_only["loss/rotation_fake"], rtol=1e-5
    )
    np.testing.assert_allclose(d_only["loss/g"], none["loss/g"], rtol=1e-5)
    np.testing.assert_allclose(g_only["loss/d"], none["loss/d"], rtol=1e-5)


class Record:
    """Stores the arguments of all later calls of a network."""

    def __init__(self, model):
        self.calls = []
        call = model.call

        def recorded(inputs, labels=None, training=False):
            self.calls.append(
                [None if a is None else a.numpy() for a in (inputs, labels)]
            )
            return call(inputs, labels, training=training)

        model.call = recorded


@pytest.mark.parametrize("each_in_one", [False, True])
@pytest.mark.parametrize("task", [RotationTask, MinimaxRotationTask])
def test_every_image_comes_with_its_own_label(task, each_in_one):
    columns = task.heads["rotation_logits"]
    gan = tiny_gan(
        **CONDITIONAL,
        discriminator={"rotation_classes": columns},
        tasks=[task(8, each_in_one=each_in_one)],
        d_steps=2,
    )
    asked, generated = Record(gan.discriminator), Record(gan.generator)
    images, labels = real_images(2 * BATCH), real_labels(2 * BATCH)
    gan.train_step((tf.constant(images), tf.constant(labels)))

    def inputs_of(images, labels, with_views=True):
        """One player's part of a call of D."""
        parts = [(images, labels)]
        for k in (1, 2, 3) if with_views else ():
            rows = slice(2 * k, 2 * k + 2) if each_in_one else slice(-2, None)
            rotated = np.rot90(images[rows], k, axes=(1, 2))
            parts.append((rotated, labels[rows]))
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    reals = images / np.float32(255)
    assert len(generated.calls) == 2 and len(asked.calls) == 3
    for j, (ours, our_labels) in enumerate(asked.calls):
        fake_labels = generated.calls[min(j, 1)][1]
        rows = slice(j * BATCH, (j + 1) * BATCH)
        players = []
        if j < 2:
            players = [inputs_of(reals[rows], labels[rows])]
        num = sum(len(player[0]) for player in players)
        players.append(
            inputs_of(ours[num : num + BATCH], fake_labels, j == 2 or task.d_sees_fakes)
        )
        expected = [np.concatenate(arrays) for arrays in zip(*players, strict=True)]
        np.testing.assert_array_equal(ours, expected[0])
        np.testing.assert_array_equal(our_labels, expected[1])
    # G's update uses the fakes of the last update of D, with their own labels.
    last, before = asked.calls[2][0][:BATCH], asked.calls[1][0]
    np.testing.assert_array_equal(last, before[14 : 14 + BATCH])
    assert (generated.calls[1][1] != labels[BATCH:]).any()


def test_labels_of_fakes_are_drawn_uniformly():
    gan = tiny_gan(**CONDITIONAL, d_steps=2, seed=5)
    draws = []
    for step in range(100):
        gan.g_optimizer.iterations.assign(step)
        draws += [step_labels(gan, BATCH, d_step, WHOLE).numpy() for d_step in (0, 1)]
    draws = np.array(draws)
    assert draws.dtype == np.int32
    counts = np.bincount(draws.ravel())
    expected = draws.size / CLASSES
    assert len(counts) == CLASSES
    # Chi square with two degrees of freedom: above 14 for one seed in a thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 14
    assert len(np.unique(draws, axis=0)) > 190  # of 200 updates
    other = step_labels(tiny_gan(**CONDITIONAL, seed=6), BATCH, 0, WHOLE).numpy()
    assert (other != draws[0]).any()


@pytest.mark.parametrize(
    "options", [{}, {"adversarial_loss": None, "penalty": penalties.WganGP()}]
)
def test_ds_loss_has_no_gradient_for_g(options):
    gan = tiny_gan(**options)
    latents = Latents(LATENT_DIM).sample(BATCH, (0, 0))
    variables = [v.value for v in gan.generator.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        fakes = gan.generator(latents, training=True)
        reals = Batch(tf.constant(real_images() / np.float32(255)), None)
        logs = update_discriminator(gan, reals, Batch(fakes, None))
    assert tape.gradient(logs["loss/d"], variables) == [None] * len(variables)


# ----------------------------------------------------------------------- augmentation


class Identity(Augmentation):
    """Draws its noise and does not change the images."""

    def __call__(self, images, noise):
        return images + 0.0 * noise[:, :1, None, None]


def test_without_augmentation_d_sees_the_images_themselves():
    plain, idle = tiny_gan(), tiny_gan(augmentation=Identity())
    record = Record(plain.discriminator)
    assert plain.augmentation is None
    for gan in (plain, idle):
        take_steps(gan, 2)
    assert_equal(state(plain), state(idle))
    for step in (0, 1):
        shown = record.calls[2 * step][0][:BATCH]
        np.testing.assert_array_equal(shown, real_images(seed=step) / np.float32(255))


@pytest.mark.parametrize("d_steps", [1, 2])
def test_d_sees_augmented_images_only(d_steps):
    augmentation = Augmentation(("color", "translation"))
    plain = tiny_gan(d_steps=d_steps, seed=SEED)
    augmented = tiny_gan(d_steps=d_steps, seed=SEED, augmentation=augmentation)
    records = [Record(gan.discriminator) for gan in (plain, augmented)]
    noises = []
    for step in range(2):
        # The same weights give the same fakes.
        for ours, theirs in zip(augmented.variables, plain.variables, strict=True):
            ours.assign(np.array(theirs))
        for gan in (plain, augmented):
            take_steps(gan, 1, seed=step)
        for update in range(d_steps):
            images, shown = (
                record.calls[step * (d_steps + 1) + update][0] for record in records
            )
            draw = step * (d_steps + 1) + update
            noise = tf.constant(
                oracles.uniform((len(images), 5), noise_seed(AUGMENTATION_STREAM, draw))
            )
            noises.append(noise)
            if update == 0:  # Neither D nor G has changed yet.
                np.testing.assert_array_equal(shown, augmentation(images, noise))
            assert np.abs(shown - images).max(axis=(1, 2, 3)).min() > 0.01
    noises = np.concatenate(noises)
    assert len(np.unique(noises)) > 0.999 * noises.size


def test_the_gradient_of_g_passes_through_the_augmentation():
    augmentation = Augmentation(("translation", "cutout"))
    images = tf.constant(real_images(seed=3) / np.float32(255))
    pictures = Pictures(images)
    gan = GAN(pictures, tiny_discriminator(), latents=Latents(2), seed=SEED)
    gan.compile(
        g_optimizer=Recorder(),
        d_optimizer=Recorder(),
        adversarial_loss=losses.NonSaturating(),
        augmentation=augmentation,
        d_steps=2,
    )
    gan.g_optimizer.iterations.assign(4)
    update_generator(gan, *generate(pictures, tf.zeros((BATCH, 2))))
    (gradient,) = gan.g_optimizer.gradients.values()
    # Steps 0 to 3 had three updates each; in step 4 D had two.
    noise = tf.constant(
        oracles.uniform((BATCH, 4), noise_seed(AUGMENTATION_STREAM, 4 * 3 + 2))
    )
    discriminator = tiny_discriminator()
    with tf.GradientTape() as tape:
        tape.watch(images)
        shown = augmentation(images, noise)
        loss = minus_log_sigmoid(discriminator(shown, training=True)["logits"])
    expected = tape.gradient(loss, images).numpy()
    # Some pixels are cut out, others are not.
    assert (expected == 0.0).any() and np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_uint8_and_float_images_agree():
    images = real_images()
    gans = [tiny_gan() for _ in range(3)]
    gans[0].train_step(tf.constant(images))
    gans[1].train_step(tf.constant(images.astype("float32") / np.float32(255)))
    gans[2].train_step((tf.constant(images), tf.zeros(BATCH, tf.int64)))
    for gan in gans[1:]:
        assert_close(state(gan), state(gans[0]))


def test_noise_is_never_drawn_twice():
    draws = []
    for seed in (0, 1):
        gan = tiny_gan(seed=seed, d_steps=2)
        for step in range(3):
            gan.g_optimizer.iterations.assign(step)
            draws += [
                step_latents(gan, BATCH, d_step, WHOLE).numpy() for d_step in (0, 1)
            ]
    assert len(np.unique(draws)) == np.size(draws)


def test_the_seed_decides():
    gans = [tiny_gan(seed=seed, g_optimizer=adam()) for seed in (3, 3, 4)]
    for gan in gans:
        take_steps(gan, 3)
    assert_equal(state(gans[0]), state(gans[1]))
    for one, other in zip(
        values(gans[0].generator.trainable_variables),
        values(gans[2].generator.trainable_variables),
        strict=True,
    ):
        assert (one != other).any()


@pytest.mark.parametrize("start", [0, 2])
def test_average_follows_its_closed_form(start):
    decay, steps = 0.7, 5
    gan = tiny_gan(average=True, ema_decay=decay, ema_start_step=start)
    assert gan.sampler is gan.average
    assert_equal(values(gan.average), values(gan.generator))
    history = [values(gan.generator.trainable_variables)]
    for step in range(steps):
        take_steps(gan, 1, seed=step)
        history.append(values(gan.generator.trainable_variables))
        if step < start:
            assert_equal(values(gan.average), values(gan.generator))
    # history[start] are the last weights that were copied, or the initial ones.
    for i, mean in enumerate(values(gan.average.trainable_variables)):
        expected = decay ** (steps - start) * np.float64(history[start][i])
        for step in range(start, steps):
            share = (1 - decay) * decay ** (steps - 1 - step)
            expected += share * np.float64(history[step + 1][i])
        np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert_equal(
        values(gan.average.non_trainable_variables),
        values(gan.generator.non_trainable_variables),
    )


def test_the_step_number_can_be_read_under_two_replicas(two_replicas):
    with two_replicas.scope():
        gan = tiny_gan()
    assert gan.step == 0


def test_without_average_the_generator_is_sampled():
    gan = tiny_gan()
    assert gan.sampler is gan.generator


# -------------------------------------------------------------------------------- fit


@pytest.mark.slow
def test_several_steps_per_execution_are_that_many_steps():
    gans, logs = {}, {}
    for steps_per_execution in (1, 4):
        gan = tiny_gan(
            d_steps=2,
            average=True,
            ema_decay=0.5,
            steps_per_execution=steps_per_execution,
        )
        gan.make_train_function()
        iterator = iter(dataset(4, d_steps=2))
        logs[steps_per_execution] = [
            {name: float(value) for name, value in gan.train_function(iterator).items()}
            for _ in range(4 // steps_per_execution)
        ]
        gans[steps_per_execution] = gan
    assert_close(state(gans[4]), state(gans[1]))
    assert gans[4].step == 4
    for name in gans[1].log_names:
        single = [log[name] for log in logs[1]]
        assert np.std(single) > 1e-6 or name.startswith("accuracy")
        np.testing.assert_allclose(logs[4][0][name], np.mean(single), rtol=1e-5)
    # Compiled steps equal eager ones.
    eager = tiny_gan(d_steps=2, average=True, ema_decay=0.5)
    eager_logs = take_steps(eager, 4)
    assert_close(state(eager), state(gans[1]), rtol=1e-4, atol=1e-5)
    for ours, expected in zip(logs[1], eager_logs, strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-6)


def test_a_rollback_changes_the_noise():
    gan = tiny_gan()
    before = step_latents(gan, BATCH, 0, Share(0, 1))
    gan.rollbacks.assign(1)
    after = step_latents(gan, BATCH, 0, Share(0, 1))
    # It is neither the noise before nor that of a run with the next seed.
    gan.rollbacks.assign(0)
    gan.seed += 1
    for other in (before, step_latents(gan, BATCH, 0, Share(0, 1))):
        assert np.all(after != other)


def test_fit_as_in_the_example():
    gan = GAN(tiny_generator(), tiny_discriminator(), latents=Latents(LATENT_DIM))
    gan.compile(
        g_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.0, beta_2=0.9),
        d_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.0, beta_2=0.9),
        adversarial_loss=losses.Hinge(),
        tasks=[RotationTask(rotated_batch_size=12)],
        steps_per_execution=2,
    )
    before = state(gan)
    history = gan.fit(dataset(8), steps_per_epoch=4, epochs=2, verbose=0).history
    assert gan.step == int(gan.d_optimizer.iterations) == 8
    assert set(history) == set(gan.log_names)
    for name, epochs in history.items():
        assert len(epochs) == 2 and np.isfinite(epochs).all(), name
    for now, then in zip(state(gan), before, strict=True):
        if now.dtype == np.float32 and now.ndim > 1:
            assert (now != then).any()


def test_fit_reports_the_logs_of_the_steps():
    fitted, stepped = tiny_gan(), tiny_gan()
    history = fitted.fit(dataset(2), epochs=2, steps_per_epoch=1, verbose=0).history
    for epoch, logs in enumerate(take_steps(stepped, 2)):
        for name, value in logs.items():
            np.testing.assert_allclose(
                history[name][epoch], value, rtol=1e-4, atol=1e-6
            )


def dense_generator(*first):
    return keras.Sequential(
        [
            *first,
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


@pytest.mark.parametrize(
    ("first", "penalty_interval"), [((keras.Input((LATENT_DIM,)),), 1), ((), 2)]
)
def test_fit_with_plain_keras_models(first, penalty_interval):
    # Without an input layer a network has no variables before its first call.
    gan = GAN(
        dense_generator(*first),
        functional_discriminator(rotation_logits=4),
        latents=Latents(LATENT_DIM),
        average=dense_generator(*first),
    )
    gan.compile(
        g_optimizer=adam(),
        d_optimizer=adam(),
        # Smooth: no gradient is exactly zero.
        adversarial_loss=losses.NonSaturating(),
        tasks=[RotationTask(8)],
        penalty=penalties.WganGP(),
        penalty_interval=penalty_interval,
    )
    players = gan.generator, gan.discriminator
    before = [values(player.trainable_variables) for player in players]
    history = gan.fit(dataset(4), steps_per_epoch=1, epochs=4, verbose=0).history
    assert set(history) == set(gan.log_names)
    for player, then in zip(players, before, strict=True):
        assert_all_moved(player, then)
    # The first update has a penalty.
    acts = np.array(history["loss/penalty"]) != 0.0
    np.testing.assert_array_equal(acts, np.arange(4) % penalty_interval == 0)


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


class FlipDiscriminator(keras.Model):
    """A D whose call has neither labels nor `training`."""

    def __init__(self):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.heads = {
            "logits": keras.layers.Dense(1),
            "flip_logits": keras.layers.Dense(1),
        }

    def call(self, images):
        hidden = self.flatten(images)
        return {name: head(hidden) for name, head in self.heads.items()}


@pytest.mark.parametrize("beside", [False, True])
def test_a_task_of_the_users_own_trains(beside):
    if beside:  # With a rotation task and an adversarial loss.
        discriminator = functional_discriminator(flip_logits=1, rotation_logits=4)
    else:
        discriminator = FlipDiscriminator()
    gan = GAN(dense_generator(), discriminator, latents=Latents(LATENT_DIM))
    gan.compile(
        g_optimizer=adam(0.01),
        d_optimizer=adam(0.01),
        adversarial_loss=losses.Hinge() if beside else None,
        tasks=[FlipTask(), RotationTask(8)] if beside else [FlipTask()],
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


class TestErrors:
    @pytest.mark.parametrize(
        "name", ["d_steps", "accumulate", "penalty_interval", "steps_per_execution"]
    )
    @pytest.mark.parametrize("value", [0, -1, 2.5])
    def test_counts_below_1(self, name, value):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            tiny_gan(**{name: value})

    def test_rotation_task_without_head(self):
        with pytest.raises(ValueError, match="RotationTask.*'rotation_logits' has 4"):
            tiny_gan(discriminator={"rotation_classes": 0})

    def test_discriminator_without_logits(self):
        images = keras.Input((8, 8, 3))
        score = keras.layers.Dense(1)(keras.layers.Flatten()(images))
        for outputs, name in ((score, "KerasTensor"), ({"score": score}, "'score'")):
            with pytest.raises(ValueError, match=f"Received: .*{name}"):
                GAN(
                    tiny_generator(),
                    keras.Model(images, outputs),
                    latents=Latents(LATENT_DIM),
                )

    @pytest.mark.parametrize(
        ("task", "columns"), [(MinimaxRotationTask, 5), (LabelAugmentedTask, 8)]
    )
    def test_head_of_another_kind(self, task, columns):
        message = f"{task.__name__}.*'rotation_logits' has {columns}.*with 4"
        with pytest.raises(ValueError, match=message):
            tiny_gan(tasks=[task(8)])

    def test_class_task_without_predictor(self):
        message = "ClassTask.*'class_logits' has 3 columns.*no such output"
        with pytest.raises(ValueError, match=message):
            tiny_gan(**CONDITIONAL, tasks=[RotationTask(8), ClassTask(CLASSES)])

    def test_head_of_the_users_task(self):
        with pytest.raises(ValueError, match="FlipTask.*'flip_logits' has 1 column"):
            tiny_gan(tasks=[FlipTask()])

    def test_nothing_to_learn(self):
        with pytest.raises(ValueError, match="adversarial_loss=None.*no tasks"):
            tiny_gan(adversarial_loss=None, tasks=[])

    @pytest.mark.parametrize(("g", "d"), [(3, 0), (0, 3), (3, 4)])
    def test_networks_with_other_classes(self, g, d):
        message = f"generator.num_classes={g}, discriminator.num_classes={d}"
        norm = ConditionalBatchNorm if g else BatchNorm
        with pytest.raises(ValueError, match=message):
            GAN(
                tiny_generator(norm, num_classes=g),
                tiny_discriminator(num_classes=d),
                latents=Latents(LATENT_DIM),
            )

    def test_conditional_without_labels(self):
        images = tf.constant(real_images())
        for data in (images, (images,)):
            with pytest.raises(ValueError, match=r"\(images, labels\).*images alone"):
                tiny_gan(**CONDITIONAL).train_step(data)

    def test_more_rotated_images_than_images(self):
        gan = tiny_gan(tasks=[RotationTask(rotated_batch_size=4 * BATCH + 4)])
        with pytest.raises(ValueError, match=f"batch_size={BATCH}"):
            take_steps(gan, 1)

    def test_fit_checks_the_tasks_against_the_batch(self):
        # 2 pieces: 12 rotated images are no multiple of 4 x 2.
        gan = tiny_gan(accumulate=2)
        with pytest.raises(ValueError, match="rotated_batch_size=12, shares=2"):
            gan.fit(dataset(1), verbose=0)
        gan.check_batch(BATCH, 1)
        with pytest.raises(ValueError, match="rotated_batch_size=12, shares=2"):
            gan.check_batch(BATCH, 2)

    @pytest.mark.parametrize(
        ("shape", "dtype", "message"),
        [
            ((7, 8, 8, 3), tf.float32, "7 images, d_steps=2"),
            ((8, 8, 8, 3), tf.int32, "images.dtype=int32"),
            ((None, 8, 8, 3), tf.uint8, r"images.shape=\(None, 8, 8, 3\)"),
            ((8, 8, 3), tf.uint8, r"images.shape=\(8, 8, 3\)"),
        ],
    )
    def test_data(self, shape, dtype, message):
        step = tf.function(tiny_gan(d_steps=2).train_step, autograph=False)
        with pytest.raises(ValueError, match=message):
            step.get_concrete_function(tf.TensorSpec(shape, dtype))
