"""Mixed precision: the parts that stay float32, and training close to float32's."""

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
import tiny

from ssgan_tf import layers
from ssgan_tf.modules import reading
from ssgan_tf.optimizers import Adam, LossScaled
from ssgan_tf.randomness import SAMPLING_STREAM
from ssgan_tf.training import checkpoint_export, run_dir

HALVES = {"mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}
every_half = pytest.mark.parametrize("precision", HALVES)
# For tests that take long: float16 is slow on CPUs.
some_half = pytest.mark.parametrize(
    "precision",
    ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)],
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# ---------------------------------------------------------------------- float32 parts


@every_half
def test_spectral_norms_are_taken_in_float32(precision):
    images = noise(2, 4, 4, 3, seed=1)
    convs = []
    for policy in ("float32", precision):
        conv = layers.Conv2D(5, spectral_norm="left", dtype=policy)
        conv.build(images.shape)
        conv.kernel.assign(noise(*conv.kernel.shape))
        conv.spectral_norm.u.assign(noise(*conv.spectral_norm.u.shape, seed=2))
        outputs = conv(images, training=True)
        convs.append((conv, outputs))
    (exact, expected), (mixed, outputs) = convs
    assert outputs.dtype == HALVES[precision]
    assert mixed.kernel.dtype == mixed.spectral_norm.u.dtype == "float32"
    # Bit for bit: no half-precision number was used.
    np.testing.assert_array_equal(mixed.spectral_norm.u, exact.spectral_norm.u)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05)


def check_moments(norm, rows):
    moments = rows.mean(axis=0), rows.var(axis=0)
    for moving, moment in zip(norm.non_trainable_variables, moments, strict=True):
        assert moving.dtype == "float32"
        np.testing.assert_allclose(moving.numpy(), moment, rtol=1e-5)


@every_half
@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("kind", [layers.BatchNorm, layers.SelfModulatedBatchNorm])
def test_moments_are_taken_in_float32(precision, rank, kind):
    # A mean far from zero: its square in half precision would lose the variance.
    shape = (64, 7) if rank == 2 else (16, 2, 2, 7)
    inputs = tf.cast(4.0 + 0.5 * noise(*shape), HALVES[precision])
    norm = kind(dtype=precision, momentum=0.0)
    latents = noise(shape[0], 3, seed=1)
    outputs = norm(inputs, latents, training=True)
    assert outputs.dtype == HALVES[precision]
    rows = inputs.numpy().astype(np.float64).reshape(-1, 7)
    check_moments(norm, rows)
    if kind is layers.BatchNorm:
        normal = (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)
        for training in (True, False):  # With momentum 0 both have these moments.
            ours = norm(inputs, latents, training=training)
            ours = tf.cast(ours, tf.float64).numpy().reshape(-1, 7)
            np.testing.assert_allclose(ours, normal, atol=0.02)


@every_half
def test_moments_across_replicas_are_taken_in_float32(precision, two_replicas):
    inputs = (4.0 + 0.5 * noise(64, 7)).astype(HALVES[precision].as_numpy_dtype)
    with two_replicas.scope():
        norm = layers.BatchNorm(dtype=precision, momentum=0.0)
        norm.build((None, 7))
    shares = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(inputs[context.replica_id_in_sync_group :: 2])
    )
    two_replicas.run(lambda share: norm(share, training=True), args=(shares,))
    check_moments(norm, inputs.astype(np.float64))


@every_half
def test_layer_norm_takes_its_moments_in_float32(precision):
    inputs = tf.cast(100.0 + noise(2, 8, 8, 4), HALVES[precision])
    outputs = layers.LayerNorm(dtype=precision)(inputs)
    assert outputs.dtype == HALVES[precision]
    wide = inputs.numpy().astype(np.float64)
    axes = (1, 2, 3)
    normal = wide - wide.mean(axis=axes, keepdims=True)
    normal /= wide.std(axis=axes, keepdims=True)
    np.testing.assert_allclose(tf.cast(outputs, tf.float64), normal, atol=0.03)


@every_half
@pytest.mark.parametrize("architecture", ["resnet_cifar", "dcgan", "resnet_biggan"])
def test_images_and_heads_are_float32(precision, architecture):
    bindings = [f"options.architecture = '{architecture}'"]
    if architecture == "resnet_biggan":
        bindings += [
            "ModularGAN.conditional = True",
            "G.batch_norm_fn = @conditional_batch_norm",
            "options.z_dim = 8",
            "G.width = 8",
            "D.width = 8",
        ]
    gan = tiny.plan(f"options.precision = '{precision}'", *bindings).build_gan()
    assert keras.config.dtype_policy().name == "float32"
    networks = gan.generator, gan.discriminator
    assert {v.dtype for network in networks for v in network.variables} == {"float32"}
    labels = [tf.range(4)] if gan.num_classes else []
    images = gan.generator(gan.latents.sample(4, [0, 0]), *labels, training=True)
    assert gan.generator.compute_dtype == HALVES[precision].name
    assert images.dtype == tf.float32
    # Half precision has at most 2^11 numbers between 1/2 and 1.
    assert np.abs(np.array(images) * 2**11 % 1.0).max() > 0
    for name, output in gan.discriminator(images, *labels).items():
        assert output.dtype == tf.float32, name


# ----------------------------------------------------------------------- training


def run(precision, steps=50):
    """Losses of every step, and the networks' weights after the last one."""
    gan = tiny.plan(
        f"options.precision = '{precision}'",
        "G.batch_norm_fn = @self_modulated_batch_norm",
    ).build_gan()
    step = tf.function(gan.train_step)
    rng = np.random.default_rng(0)
    history = []
    for _ in range(steps):
        images = rng.integers(0, 256, (8 * gan.d_steps, 32, 32, 1), np.uint8)
        logs = step(tf.constant(images))
        history.append([float(logs[name]) for name in ("loss/d", "loss/g")])
    weights = [*gan.generator.variables, *gan.discriminator.variables]
    assert gan.step == steps
    return np.array(history), oracles.values(weights)


@pytest.fixture(scope="module")
def float32_run():
    return run("float32")


@pytest.mark.slow
@some_half
def test_fifty_steps_stay_close_to_float32(precision, float32_run):
    expected, expected_weights = float32_run
    history, weights = run(precision)
    # Measured: losses apart by 0.013 at most, 0.003 in the mean; weights by 0.6 %.
    assert np.ptp(expected, axis=0).min() > 0.1
    assert 1e-7 < np.abs(history - expected).max() < 0.04
    assert np.abs(history - expected).mean() < 0.01
    distance = sum(
        ((one - other) ** 2).sum()
        for one, other in zip(weights, expected_weights, strict=True)
    )
    size = sum((weight**2).sum() for weight in expected_weights)
    assert np.sqrt(distance / size) < 0.02


@some_half
def test_exports_compute_in_float32(precision, tmp_path):
    plan = tiny.plan(f"options.precision = '{precision}'")
    gan = plan.build_gan()
    for seed, network in enumerate((gan.average, gan.discriminator)):
        oracles.randomize(network, seed)
    run = run_dir.RunDir(tmp_path / "run")
    run.checkpoints.save(gan.step, gan.parts)
    module = reading.load(checkpoint_export.export_checkpoint(plan, run, 0))
    exact = plan.build_gan(precision="float32")
    oracles.copy_weights(gan.average, exact.average)
    oracles.copy_weights(gan.discriminator, exact.discriminator)
    latents = gan.latents.sample(4, [0, SAMPLING_STREAM])
    images = module.sample(4, 0)
    np.testing.assert_allclose(images, exact.average(latents), atol=1e-5)
    assert np.abs(images - gan.average(latents)).max() > 1e-5
    logits = module.discriminate(images)["logits"]
    np.testing.assert_allclose(
        logits, exact.discriminator(images)["logits"], rtol=1e-4, atol=1e-4
    )


def test_refuses_another_precision():
    with pytest.raises(ValueError, match="'half'"):
        tiny.plan("options.precision = 'half'")


# --------------------------------------------------------------------- loss scale


def take_steps(strategy, overflows):
    """The weight, the number of counted steps and the scale after every step.

    All weights are equal. `overflows[i]` is the replica whose last gradient is infinite
    in step i, or None.
    """
    with strategy.scope():
        weights = [keras.Variable([1.0]) for _ in range(2)]
        optimizer = LossScaled(Adam(0.25, beta_1=0.0, beta_2=0.0))
        optimizer.build(weights)

    @tf.function
    def step(bad):
        def on_replica():
            replica = tf.distribute.get_replica_context()
            gradient = optimizer.scale_loss(tf.ones([1]))
            mine = tf.equal(bad, replica.replica_id_in_sync_group)
            # In the last of the gradients.
            gradients = gradient, tf.where(mine, float("inf"), gradient)
            optimizer.apply_gradients(zip(gradients, weights, strict=True))

        strategy.run(on_replica)

    history = []
    for bad in overflows:
        step(tf.constant(-1 if bad is None else bad))
        values = {
            float(copy.numpy()[0])
            for weight in weights
            for copy in strategy.experimental_local_results(weight.value)
        }
        assert len(values) == 1
        scale = float(optimizer.dynamic_scale.numpy())
        history.append((*values, int(optimizer.iterations.numpy()), scale))
    return history


HISTORY = [(0.75, 1, 2.0**15), (0.75, 2, 2.0**14), (0.5, 3, 2.0**14)]


def test_a_step_that_overflows_is_skipped_and_counted():
    assert take_steps(tf.distribute.get_strategy(), [None, 0, None]) == HISTORY


@pytest.mark.parametrize("replica", [0, 1])
def test_all_replicas_skip_a_step_that_overflows_on_one(two_replicas, replica):
    assert take_steps(two_replicas, [None, replica, None]) == HISTORY


def test_float16_has_a_scale():
    """float16 needs the scale: it rounds gradients below 6e-8 to zero."""
    gan = tiny.plan("options.precision = 'mixed_float16'").build_gan()
    assert isinstance(gan.g_optimizer, LossScaled)
    assert isinstance(gan.d_optimizer, LossScaled)
    plain = tiny.plan().build_gan()
    assert not isinstance(plain.g_optimizer, LossScaled)
