"""Reference implementations: the same mathematics, written in another way."""

import json
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from paths import TESTS

from ssgan_tf import layers, networks
from ssgan_tf.networks.resnet import ResNetBlock, ResNetGenerator, Stage

PARITY = TESTS / "parity"


# ------------------------------------------------------------- compare_gan's numbers


def reference_weight(name: str, shape) -> np.ndarray:
    """The weight in compare_gan's run, drawn from the variable's name."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    noise = rng.standard_normal(shape).astype(np.float32)
    last = name.split("/")[-1]
    if last == "u_var":
        return noise
    if last == "moving_variance":
        return (0.5 + np.abs(noise)).astype(np.float32)
    if last == "gamma" and len(shape) == 1:
        return (1 + 0.1 * noise).astype(np.float32)
    if last == "sigma":
        return np.asarray(0.5, np.float32)
    if len(shape) >= 2:
        return (noise / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
    return (0.1 * noise).astype(np.float32)


def reference_inputs(
    name: str, *, size: int, latent_dim: int, num_classes: int, batch_size: int
) -> dict[str, np.ndarray]:
    """The inputs of compare_gan's networks, drawn from the name of the run."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    latents = rng.uniform(-1, 1, (batch_size, latent_dim))
    # Blocks of one colour and noise, different for every image, in 8 bits.
    images = rng.uniform(0, 1, (batch_size, 4, 4, 3))
    images = images * rng.uniform(0.2, 1, (batch_size, 1, 1, 3))
    images = images.repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    images = images + 0.3 * (rng.uniform(0, 1, images.shape) - 0.5)
    images = np.round(255 * np.clip(images, 0, 1)) / 255
    labels = np.zeros(batch_size)
    if num_classes:
        labels = rng.permutation(num_classes)[:batch_size]
    return {
        "z": latents.astype("float32"),
        "x": images.astype("float32"),
        "labels": labels.astype("int32"),
    }


def load_reference(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The settings and the numbers of one run of compare_gan, inputs included."""
    paths = [PARITY / f"{name}.{suffix}" for suffix in ("json", "npz")]
    for path in paths:
        if not path.exists():
            pytest.fail(f"compare_gan's reference numbers are absent: {path}")
    settings = json.loads(paths[0].read_text())
    with np.load(paths[1]) as arrays:
        numbers = dict(arrays)
    if "batch_size" in settings:
        numbers |= reference_inputs(
            name,
            size=settings["image_shape"][0],
            latent_dim=settings["z_dim"],
            num_classes=settings["num_classes"],
            batch_size=settings["batch_size"],
        )
    return settings, numbers


def reference_name(path: str, known=()) -> str:
    """compare_gan's name of one of our variables.

    Args:
        path: path of our variable.
        known: names in compare_gan's run, where the layers of a modulated norm have a
            scope, "sbn" or "condition". A name with the scope is used if known.
    """
    name = path.replace("discriminator/score_", "discriminator_rotation/score_")
    name = name.replace(
        "discriminator/predictor_", "discriminator_predictor/predictor_"
    )
    name = name.replace("/spectral_norm/u", "/kernel/u_var")
    for part in ("hidden", "gamma", "beta"):
        for scope in ("sbn", "condition"):
            scoped = name.replace(f"/{part}/", f"/{scope}/{part}/")
            if scoped in known:
                return scoped
    return name


def set_reference_weights(model: keras.Model, known=()) -> None:
    """Assigns the weights of compare_gan's run."""
    for variable in model.variables:
        name = reference_name(variable.path, known)
        variable.assign(reference_weight(name, tuple(variable.shape)))


# ------------------------------------------------------------------ spectral norm


def power_iteration(kernel, u) -> tuple[float, np.ndarray, np.ndarray]:
    """One iteration in float64: `(sigma, u', v)`, vectors of rank 1."""
    kernel = np.asarray(kernel, np.float64)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = matrix.T @ np.asarray(u, np.float64).reshape(-1)
    v /= np.sqrt(v @ v)
    u = matrix @ v
    u /= np.sqrt(u @ u)
    return u @ matrix @ v, u, v


# -------------------------------------------------------------- plain resampling


def conv3x3(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """3x3 correlation with zero padding, as a sum over the nine shifts."""
    _, height, width, _ = images.shape
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.add_n(
        [
            tf.einsum(
                "bhwi,io->bhwo", padded[:, i : i + height, j : j + width], kernel[i, j]
            )
            for i in range(3)
            for j in range(3)
        ]
    )


def insert_zeros(images: tf.Tensor) -> tf.Tensor:
    """Doubles height and width: values at even positions, zeros between."""
    batch, height, width, channels = images.shape
    zeros = tf.zeros_like(images)
    rows = tf.stack([images, zeros], axis=3)
    rows = tf.reshape(rows, (batch, height, 2 * width, channels))
    both = tf.stack([rows, tf.zeros_like(rows)], axis=2)
    return tf.reshape(both, (batch, 2 * height, 2 * width, channels))


def average_pool(images: tf.Tensor) -> tf.Tensor:
    """Means of 2x2 windows; a window at an odd border has fewer values."""
    _, height, width, _ = images.shape
    rows = [tf.reduce_mean(images[:, i : i + 2], axis=1) for i in range(0, height, 2)]
    halved = tf.stack(rows, axis=1)
    columns = [
        tf.reduce_mean(halved[:, :, j : j + 2], axis=2) for j in range(0, width, 2)
    ]
    return tf.stack(columns, axis=2)


def upsample_conv(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return conv3x3(insert_zeros(images), kernel)


def conv_downsample(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return average_pool(conv3x3(images, kernel))


# --------------------------------------------------------------------- small things


def finite_differences(function, point: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar function of a float64 array."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        moved = [point.copy(), point.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        gradient[index] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return gradient


def random_bits(shape, seed) -> np.ndarray:
    """uint32 numbers of TensorFlow's Philox generator."""
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    ).numpy()


def uniform(shape, seed) -> np.ndarray:
    """float32 in [0, 1): the 24 upper bits of `random_bits`, as a fraction."""
    return ((random_bits(shape, seed) >> 8) / 2.0**24).astype(np.float32)


class NumpyAdam:
    """Adam as in Kingma and Ba just before section 2.1 (epsilon outside)."""

    def __init__(self, rate, beta_1=0.0, beta_2=0.9, epsilon=1e-8):
        self.rate, self.betas, self.epsilon = rate, (beta_1, beta_2), epsilon
        self.time, self.moments = 0, None

    def update(self, weights, gradients):
        if self.moments is None:
            self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
        self.time += 1
        (b1, b2), t, updated = self.betas, self.time, []
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            first, second = self.moments[i]
            first = b1 * first + (1 - b1) * gradient
            second = b2 * second + (1 - b2) * gradient**2
            self.moments[i] = first, second
            rate = self.rate * np.sqrt(1 - b2**t) / (1 - b1**t)
            updated.append(weight - rate * first / (np.sqrt(second) + self.epsilon))
        return updated


def tiny_generator(
    norm=layers.BatchNorm, seed=0, start=(2, 6), widths=(6, 4), **spec
) -> ResNetGenerator:
    """A generator of 8x8 images; all weights, also biases, are random."""
    generator = ResNetGenerator(
        networks.GeneratorSpec(
            **{"latent_dim": 5, "image_shape": (8, 8, 3), "norm": norm} | spec
        ),
        start=start,
        blocks=[(f"B{i + 1}", Stage(width, "up")) for i, width in enumerate(widths)],
    )
    randomize(generator, seed)
    return generator


def tiny_discriminator(
    seed=1, rotation_classes=4, stages=((6, "down"), (8, "none")), **spec
) -> networks.Discriminator:
    """A spectrally normalized discriminator of 8x8 images."""
    spec = networks.DiscriminatorSpec(
        **{
            "image_shape": (8, 8, 3),
            "spectral_norm": "left",
            "rotation_classes": rotation_classes,
        }
        | spec
    )
    trunk, channels = [], 3
    for i, stage in enumerate(stages):
        trunk.append(
            ResNetBlock(
                Stage(*stage), channels, norm=None, name=f"B{i + 1}", **spec.kernels
            )
        )
        channels = stage[0]
    discriminator = networks.Discriminator(spec, trunk=trunk, num_features=channels)
    randomize(discriminator, seed)
    return discriminator


def randomize(model: keras.Model, seed: int) -> None:
    """Draws all variables, also biases and moments, in order."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape = tuple(variable.shape)
        noise = rng.normal(size=shape)
        name = variable.path.split("/")[-1]
        if name == "moving_variance":
            noise = 0.5 + np.abs(noise)
        elif len(shape) == 1:
            # Gains, and biases of layers that compute gains, stay near 1.
            noise = 0.2 * noise + ("gamma" in variable.path)
        elif name != "u":
            noise = noise / np.sqrt(np.prod(shape[:-1]))
        variable.assign(noise.astype(np.float32))


def values(model) -> list[np.ndarray]:
    """All variables of a model (or a list of variables) as arrays."""
    return [np.array(v) for v in getattr(model, "variables", model)]


def assert_close(ours, expected, rtol=1e-5, atol=1e-6) -> None:
    """Compares the variables of models, or arrays, in order."""
    names = [getattr(v, "path", "") for v in getattr(ours, "variables", ours)]
    for name, *pair in zip(names, values(ours), values(expected), strict=True):
        np.testing.assert_allclose(*pair, rtol=rtol, atol=atol, err_msg=name)


def assert_equal(ours, expected) -> None:
    """The same, bit for bit."""
    assert_close(ours, expected, rtol=0, atol=0)


def halves(strategy, array):
    """The first half of a batch on one replica, the second on the other."""
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(
            np.split(array, 2)[context.replica_id_in_sync_group]
        )
    )


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    for ours, theirs in zip(target.variables, source.variables, strict=True):
        ours.assign(np.array(theirs))
