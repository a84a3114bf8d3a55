"""The train step: compare_gan's numbers, a straight-line copy, and properties."""

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from oracles import tiny_discriminator, tiny_generator, values

from ssgan_tf import losses, networks
from ssgan_tf.gan import GAN
from ssgan_tf.latents import TRAINING_STREAM, Latents
from ssgan_tf.layers import BatchNorm, SelfModulatedBatchNorm
from ssgan_tf.ssgan import RotationTask

BATCH, LATENT_DIM = 8, 5
LOSSES = {
    "hinge": losses.Hinge,
    "non_saturating": losses.NonSaturating,
    "wasserstein": losses.Wasserstein,
    "least_squares": losses.LeastSquares,
}
# These biases feed a batch normalization alone, which takes any constant out: their
# gradient is zero but for rounding, which Adam blows up to a whole step.
WITHOUT_EFFECT = (
    "B1/up_conv1/bias",
    "B2/up_conv1/bias",
    "B2/up_conv_shortcut/bias",
    "B2/same_conv2/bias",
)


def sgd(rate):
    return keras.optimizers.SGD(rate)


def adam(rate=1e-3):
    return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9, epsilon=1e-8)


def tiny_gan(
    *,
    norm=BatchNorm,
    seed=0,
    average=False,
    rotation_head=True,
    weights_seed=0,
    **options,
):
    gan = GAN(
        tiny_generator(norm, seed=weights_seed),
        tiny_discriminator(seed=weights_seed + 1, rotation_head=rotation_head),
        latents=Latents(LATENT_DIM),
        seed=seed,
        average=tiny_generator(norm, seed=99) if average else None,
    )
    options = {
        "g_optimizer": sgd(0.1),
        "d_optimizer": sgd(0.1),
        # Smooth, and without the hinge's exact zero in the gradient of D's bias.
        "adversarial_loss": losses.NonSaturating(),
        "rotation_task": RotationTask(rotated_batch_size=12),
    } | options
    gan.compile(**options)
    return gan


def real_images(num=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, 8, 8, 3)).astype("uint8")


def take_steps(gan, num, seed=0):
    logs = []
    for step in range(num):
        images = real_images(BATCH * gan.d_steps, seed=seed + step)
        logs.append(gan.train_step(tf.constant(images)))
    return [{name: float(value) for name, value in log.items()} for log in logs]


def dataset(num_steps, d_steps=1, seed=0):
    batches = np.stack(
        [real_images(BATCH * d_steps, seed=seed + step) for step in range(num_steps)]
    )
    labels = np.zeros(batches.shape[:2], "int64")
    return tf.data.Dataset.from_tensor_slices((batches, labels))


def state(gan):
    """All that a step may change."""
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


class Recorder(keras.optimizers.SGD):
    """Changes nothing and keeps the gradients that it is given."""

    def __init__(self):
        super().__init__(0.0)
        self.gradients = {}

    def apply_gradients(self, grads_and_vars):
        grads_and_vars = list(grads_and_vars)
        self.gradients = {v.path: np.array(g) for g, v in grads_and_vars}
        return super().apply_gradients(grads_and_vars)


class Pictures(keras.Model):
    """A generator that is its images: their gradient is that of its one weight."""

    def __init__(self, images):
        super().__init__()
        self.images = self.add_weight(shape=images.shape, name="images")
        self.images.assign(images)
        self.built = True

    def call(self, latents, training=False):
        # Arithmetic with the noise, as a generator has: the tape sees it alike.
        return tf.convert_to_tensor(self.images) + 0.0 * tf.reduce_sum(latents)


@pytest.fixture(scope="module")
def reference():
    settings, numbers = oracles.load_reference("ssgan_losses")
    discriminator = networks.build_discriminator(
        "resnet_cifar",
        image_shape=(32, 32, 3),
        rotation_head=True,
        spectral_norm=True,
        kernel_initializer="zeros",
    )
    return settings, numbers, discriminator


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_of_compare_gan(reference, name):
    settings, numbers, discriminator = reference
    settings = settings[name]
    gan = GAN(Pictures(numbers["generated"]), discriminator, latents=Latents(2))
    gan.compile(
        g_optimizer=Recorder(),
        d_optimizer=Recorder(),
        adversarial_loss=LOSSES[name](),
        rotation_task=RotationTask(rotated_batch_size=8, d_weight=1.0, g_weight=0.2),
    )
    variables = gan.generator.trainable_variables
    with tf.GradientTape(watch_accessed_variables=False) as g_tape:
        g_tape.watch([v.value for v in variables])
        fakes = gan.generator(tf.zeros((8, 2)), training=True)

    # compare_gan's numbers are of one pass through D: both updates start from the
    # same weights and vectors.
    oracles.set_reference_weights(discriminator)
    d_logs = gan._update_discriminator(tf.constant(numbers["images"]), fakes)
    np.testing.assert_allclose(d_logs["loss/d"], settings["d_loss"], atol=1e-5)
    norms = {
        oracles.reference_name(path): np.linalg.norm(np.float64(gradient))
        for path, gradient in gan.d_optimizer.gradients.items()
    }
    assert set(norms) == set(settings["grad_norms"])
    for variable, norm in norms.items():
        # A pre-activation within rounding of zero falls on either side of its ReLU:
        # computed in float64, some of these norms are 4e-4 from compare_gan's.
        np.testing.assert_allclose(
            norm, settings["grad_norms"][variable], rtol=5e-4, atol=1e-6
        )
    check_vectors(discriminator, settings["u_norm_first_entries"])

    oracles.set_reference_weights(discriminator)
    g_logs = gan._update_generator(fakes, g_tape)
    np.testing.assert_allclose(g_logs["loss/g"], settings["g_loss"], atol=1e-5)
    (gradient,) = gan.g_optimizer.gradients.values()
    expected = numbers[f"{name}/grad_g_loss_wrt_generated"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=2e-6)
    check_vectors(discriminator, settings["u_norm_first_entries"])


def check_vectors(discriminator, first_entries):
    vectors = {
        oracles.reference_name(v.path): np.array(v)
        for v in discriminator.non_trainable_variables
    }
    assert set(vectors) == set(first_entries)
    for path, entries in first_entries.items():
        np.testing.assert_allclose(vectors[path][:3, 0], entries, atol=1e-5)


# ------------------------------------------------------------------- straight-line copy


def straight_line_step(generator, discriminator, optimizers, images, step, d_steps):
    """One SS-GAN step as compare_gan has it, without sharing or leaving out.

    Reals, rotated reals, fakes and rotated fakes go through D in every update, one
    tape sees everything, Adam is NumPy's.
    """
    alpha, beta, num_rotated, seed = 0.2, 1.0, 3, 7
    g_optimizer, d_optimizer = optimizers
    logs = {}

    def shown(batch):
        turned = [tf.image.rot90(batch[-num_rotated:], k) for k in range(4)]
        return tf.concat([batch, *turned], axis=0)

    def outputs(reals, fakes):
        images = tf.concat([shown(reals), shown(fakes)], axis=0)
        heads = discriminator(images, training=True)
        real, fake = tf.split(heads["logits"], 2)
        rotations = tf.split(heads["rotation_logits"], 2)
        labels = tf.one_hot(np.repeat([0, 1, 2, 3], num_rotated), 4)
        entropies = [
            -tf.reduce_mean(
                tf.reduce_sum(labels * tf.nn.log_softmax(r[BATCH:]), axis=1)
            )
            for r in rotations
        ]
        accuracies = [
            np.mean(np.argmax(r[BATCH:], axis=1) == np.argmax(labels, axis=1))
            for r in rotations
        ]
        return real[:BATCH], fake[:BATCH], entropies, accuracies

    def minus_log_sigmoid(logits):
        return tf.reduce_mean(tf.math.log1p(tf.exp(-logits)))

    def apply(optimizer, tape, loss, variables):
        weights = [np.float64(v) for v in variables]
        gradients = [np.float64(g) for g in tape.gradient(loss, variables)]
        for variable, weight in zip(
            variables, optimizer.update(weights, gradients), strict=True
        ):
            variable.assign(weight.astype("float32"))

    def log(name, value):
        logs.setdefault(name, []).append(float(value))

    for j in range(d_steps):
        reals = images[j * BATCH : (j + 1) * BATCH]
        noise_seed = tf.random.experimental.stateless_fold_in(
            tf.constant([seed, TRAINING_STREAM], tf.int64),
            tf.constant(step * d_steps + j, tf.int64),
        )
        latents = tf.random.stateless_uniform((BATCH, LATENT_DIM), noise_seed, -1, 1)
        with tf.GradientTape(persistent=True) as tape:
            fakes = generator(latents, training=True)
            real, fake, (entropy, _), (accuracy, _) = outputs(reals, fakes)
            loss = minus_log_sigmoid(real) + minus_log_sigmoid(-fake) + beta * entropy
            log("logits/real", tf.reduce_mean(real))
            log("logits/fake", tf.reduce_mean(fake))
            log("loss/d", loss)
            log("loss/rotation_real", entropy)
            log("accuracy/rotation_real", accuracy)
            variables = [v.value for v in discriminator.trainable_variables]
            with tape.stop_recording():
                apply(d_optimizer, tape, loss, variables)
            if j == d_steps - 1:
                _, fake, (_, entropy), (_, accuracy) = outputs(reals, fakes)
                loss = minus_log_sigmoid(fake) + alpha * entropy
                log("loss/g", loss)
                log("loss/rotation_fake", entropy)
                log("accuracy/rotation_fake", accuracy)
        if j == d_steps - 1:
            variables = [v.value for v in generator.trainable_variables]
            apply(g_optimizer, tape, loss, variables)
    return {name: np.mean(logged) for name, logged in logs.items()}


@pytest.mark.parametrize("norm", [BatchNorm, SelfModulatedBatchNorm])
@pytest.mark.parametrize("d_steps", [1, 2])
def test_step_equals_the_straight_line(norm, d_steps):
    gan = tiny_gan(
        norm=norm, seed=7, d_steps=d_steps, g_optimizer=adam(), d_optimizer=adam()
    )
    generator, discriminator = tiny_generator(norm), tiny_discriminator()
    optimizers = oracles.NumpyAdam(1e-3), oracles.NumpyAdam(1e-3)
    for step in range(2):
        images = real_images(BATCH * d_steps, seed=step)
        logs = gan.train_step(tf.constant(images))
        expected = straight_line_step(
            generator,
            discriminator,
            optimizers,
            tf.constant(images / np.float32(255)),
            step,
            d_steps,
        )
        assert set(logs) == set(expected) == set(gan.log_names)
        for name, value in expected.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(
            gan.generator.variables, generator.variables, strict=True
        ):
            if ours.path.endswith(WITHOUT_EFFECT):
                theirs.assign(np.array(ours))
        assert_close(values(gan.generator), values(generator), 1e-5, 2e-6)
        assert_close(values(gan.discriminator), values(discriminator), 1e-5, 2e-6)
    assert gan.step == 2
    assert int(gan.d_optimizer.iterations) == 2 * d_steps


# --------------------------------------------------------------------------- properties


def test_an_update_touches_its_own_player_only():
    gan = tiny_gan()
    latents = Latents(LATENT_DIM).sample(BATCH, (0, 0))
    with tf.GradientTape() as g_tape:
        g_tape.watch([v.value for v in gan.generator.trainable_variables])
        fakes = gan.generator(latents, training=True)
    players = gan.generator, gan.discriminator
    reals = tf.constant(real_images() / np.float32(255))
    updates = (
        lambda: gan._update_generator(fakes, g_tape),
        lambda: gan._update_discriminator(reals, fakes),
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


@pytest.mark.parametrize("loss", LOSSES.values())
def test_without_weight_the_rotation_task_changes_nothing(loss):
    task = RotationTask(rotated_batch_size=12, d_weight=0.0, g_weight=0.0)
    with_task = tiny_gan(adversarial_loss=loss(), rotation_task=task)
    plain = tiny_gan(adversarial_loss=loss(), rotation_task=None)
    head = values(plain.discriminator.rotation_head.trainable_variables)
    logs, plain_logs = take_steps(with_task, 2), take_steps(plain, 2)
    # D's batch holds rotated reals only with the task; it has no batch norm, so
    # they change the rounding alone.
    assert_close(state(with_task), state(plain))
    for ours, theirs in zip(logs, plain_logs, strict=True):
        assert set(theirs) == {"loss/d", "loss/g", "logits/real", "logits/fake"}
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-6)
    for gan in (with_task, plain):
        assert_equal(values(gan.discriminator.rotation_head.trainable_variables), head)


def test_a_discriminator_without_rotation_head_trains_alike():
    plain = tiny_gan(rotation_task=None)
    headless = tiny_gan(rotation_task=None, rotation_head=False)
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
        gan = tiny_gan(rotation_task=task, d_optimizer=sgd(0.0), g_optimizer=sgd(0.0))
        (logs[d_weight, g_weight],) = take_steps(gan, 1)
    none, d_only, g_only = logs.values()
    np.testing.assert_allclose(
        d_only["loss/d"], none["loss/d"] + 0.5 * none["loss/rotation_real"], rtol=1e-5
    )
    np.testing.assert_allclose(
        g_only["loss/g"], none["loss/g"] + 3.0 * none["loss/rotation_fake"], rtol=1e-5
    )
    np.testing.assert_allclose(d_only["loss/g"], none["loss/g"], rtol=1e-5)
    np.testing.assert_allclose(g_only["loss/d"], none["loss/d"], rtol=1e-5)


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
            draws += [gan._draw_latents(BATCH, d_step).numpy() for d_step in (0, 1)]
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
    # history[start] is the last one copied, or the first weights of all.
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
        each = [log[name] for log in logs[1]]
        assert np.std(each) > 1e-6 or name.startswith("accuracy")
        np.testing.assert_allclose(logs[4][0][name], np.mean(each), rtol=1e-5)
    # Compiled steps are those that Python runs one by one.
    eager = tiny_gan(d_steps=2, average=True, ema_decay=0.5)
    eager_logs = take_steps(eager, 4)
    assert_close(state(eager), state(gans[1]), rtol=1e-4, atol=1e-5)
    for ours, expected in zip(logs[1], eager_logs, strict=True):
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-6)


def test_a_nan_in_any_step_shows():
    class Scripted(GAN):
        """Reports its data."""

        log_names = ["loss/d"]

        def train_step(self, data):
            return {"loss/d": data}

    gan = Scripted(tiny_generator(), tiny_discriminator(), latents=Latents(5))
    gan.compile(
        g_optimizer=sgd(0.0),
        d_optimizer=sgd(0.0),
        adversarial_loss=losses.Hinge(),
        steps_per_execution=3,
    )
    gan.make_train_function()
    data = tf.data.Dataset.from_tensor_slices([1.0, 2.0, 6.0, 1.0, np.nan, 2.0])
    iterator = iter(data)
    np.testing.assert_allclose(gan.train_function(iterator)["loss/d"], 3.0)
    assert np.isnan(gan.train_function(iterator)["loss/d"])


def test_fit_as_in_the_example():
    gan = GAN(tiny_generator(), tiny_discriminator(), latents=Latents(LATENT_DIM))
    gan.compile(
        g_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.0, beta_2=0.9),
        d_optimizer=keras.optimizers.Adam(2e-4, beta_1=0.0, beta_2=0.9),
        adversarial_loss=losses.Hinge(),
        rotation_task=RotationTask(rotated_batch_size=12),
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


def test_fit_reports_what_the_steps_report():
    fitted, stepped = tiny_gan(), tiny_gan()
    history = fitted.fit(dataset(2), epochs=2, steps_per_epoch=1, verbose=0).history
    for epoch, logs in enumerate(take_steps(stepped, 2)):
        for name, value in logs.items():
            np.testing.assert_allclose(
                history[name][epoch], value, rtol=1e-4, atol=1e-6
            )


class TestErrors:
    @pytest.mark.parametrize("name", ["d_steps", "steps_per_execution"])
    @pytest.mark.parametrize("value", [0, -1])
    def test_counts_below_1(self, name, value):
        with pytest.raises(ValueError, match=f"`{name}`.*at least 1.*{value}"):
            tiny_gan(**{name: value})

    def test_rotation_task_without_head(self):
        with pytest.raises(ValueError, match="rotation_head=True"):
            tiny_gan(rotation_head=False)

    def test_more_rotated_images_than_images(self):
        gan = tiny_gan(rotation_task=RotationTask(rotated_batch_size=4 * BATCH + 4))
        with pytest.raises(ValueError, match=f"batch_size={BATCH}"):
            take_steps(gan, 1)

    @pytest.mark.parametrize(
        ("shape", "dtype", "message"),
        [
            ((7, 8, 8, 3), tf.float32, "all `d_steps`.*7 images, d_steps=2"),
            ((8, 8, 8, 3), tf.int32, "uint8 in .*images.dtype=int32"),
            ((None, 8, 8, 3), tf.uint8, "drop_remainder=True"),
            ((8, 8, 3), tf.uint8, "static shape"),
        ],
    )
    def test_data(self, shape, dtype, message):
        step = tf.function(tiny_gan(d_steps=2).train_step, autograph=False)
        with pytest.raises(ValueError, match=message):
            step.get_concrete_function(tf.TensorSpec(shape, dtype))
