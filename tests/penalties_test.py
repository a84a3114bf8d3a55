"""Penalties against NumPy, float64, on a discriminator whose gradient is known."""

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from oracles import finite_differences, halves
from scipy import special

from ssgan_tf import networks, penalties

SHAPE = (6, 3, 3, 2)
SIZE, UNITS, CLASSES = 18, 4, 3


class SoftplusDiscriminator(keras.Model):
    """logit = sum_k top_k softplus(<kernel_k, image> + bias_k) + <row_label, image>."""

    def __init__(self):
        super().__init__(dtype="float64")
        rng = np.random.default_rng(0)
        self.weight_names = ("kernel", "bias", "top", "rows")
        for name, shape in zip(
            self.weight_names,
            [(SIZE, UNITS), (UNITS,), (UNITS, 1), (CLASSES, SIZE)],
            strict=True,
        ):
            weight = self.add_weight(shape=shape, name=name)
            weight.assign(rng.normal(size=shape) / 2)
            setattr(self, name, weight)
        self.built = True

    def call(self, images, labels=None, training=True):
        if training:
            raise ValueError("A penalty looks at D without changing it.")
        flat = tf.reshape(images, (-1, SIZE))
        hidden = tf.nn.softplus(tf.matmul(flat, self.kernel) + self.bias)
        logits = tf.matmul(hidden, self.top)
        if labels is not None:
            rows = tf.gather(tf.convert_to_tensor(self.rows), labels)
            logits += tf.reduce_sum(flat * rows, axis=1, keepdims=True)
        # The other head is steep: a penalty on it would be large.
        return {"rotation_logits": 100.0 * flat[:, :4], "logits": logits}

    def set(self, weights):
        for name, weight in weights.items():
            getattr(self, name).assign(weight)

    def get(self):
        return {name: np.array(getattr(self, name)) for name in self.weight_names}


def squared_norms(weights, points, labels):
    """|gradient of the logit|^2 of every image, by the chain rule."""
    norms = []
    for i, point in enumerate(points):
        slopes = special.expit(weights["kernel"].T @ point.ravel() + weights["bias"])
        gradient = weights["kernel"] @ (slopes * weights["top"][:, 0])
        if labels is not None:
            gradient = gradient + weights["rows"][labels[i]]
        norms.append(gradient @ gradient)
    return np.array(norms)


def wgan_gp_points(real, fake, noise):
    shares = noise.ravel()
    return np.stack([(1 - t) * real[i] + t * fake[i] for i, t in enumerate(shares)])


def dragan_points(real, fake, noise):
    deviation = np.sqrt(np.mean(real**2) - np.mean(real) ** 2)
    return np.minimum(1, np.maximum(0, real - deviation / 2 + deviation * noise))


def slope_one(norms):
    return np.mean([(np.hypot(0.01, np.sqrt(norm)) - 1) ** 2 for norm in norms])


ORACLES = {
    penalties.WganGP: (wgan_gp_points, slope_one),
    penalties.Dragan: (dragan_points, slope_one),
    penalties.R1: (lambda real, fake, noise: real, lambda norms: norms.sum() / 12),
}
NOISE_SHAPES = {
    penalties.WganGP: (6, 1, 1, 1),
    penalties.Dragan: SHAPE,
    penalties.R1: None,
    penalties.L2: None,
}
every_gradient_penalty = pytest.mark.parametrize(
    "cls", ORACLES, ids=lambda cls: cls.__name__
)
every_penalty = pytest.mark.parametrize(
    "cls", NOISE_SHAPES, ids=lambda cls: cls.__name__
)
conditional_or_not = pytest.mark.parametrize("labels", [None, [2, 0, 1, 1, 0, 2]])


def batch(cls):
    """Real images, fakes of another mean and contrast, and noise, in float64."""
    rng = np.random.default_rng(1)
    real, fake = rng.uniform(size=SHAPE), 0.3 * rng.uniform(size=SHAPE)
    noise_shape = NOISE_SHAPES[cls]
    return real, fake, None if noise_shape is None else rng.uniform(size=noise_shape)


def tensors(*arrays):
    return [None if array is None else tf.constant(array) for array in arrays]


def expected_value(cls, weights, real, fake, noise, labels):
    if cls is penalties.L2:
        kernels = [weights[name] for name in ("kernel", "top", "rows")]
        return sum(float(np.vdot(kernel, kernel)) for kernel in kernels) / 6
    points, target = ORACLES[cls]
    return target(squared_norms(weights, points(real, fake, noise), labels))


@every_penalty
def test_noise_shape(cls):
    assert cls().noise_shape(SHAPE) == NOISE_SHAPES[cls]


def test_dragan_stays_among_images_and_reaches_both_ends():
    points = penalties.Dragan().points(*tensors(*batch(penalties.Dragan))).numpy()
    assert points.min() == 0.0 and points.max() == 1.0


@pytest.mark.parametrize("compilation", ["eager", "graph", "xla"])
@every_penalty
@conditional_or_not
def test_gradient_by_ds_weights(cls, labels, compilation):
    # As in the train step: points outside the cond, value inside, in one tape.
    discriminator, penalty, images = SoftplusDiscriminator(), cls(), batch(cls)
    real, fake, noise = tensors(*images)
    given = None if labels is None else tf.constant(labels)
    variables = [getattr(discriminator, name) for name in discriminator.weight_names]

    def step(due):
        with tf.GradientTape() as tape:
            points = penalty.points(real, fake, noise)
            value = tf.cond(
                due,
                lambda: penalty.value(discriminator, points, given),
                lambda: tf.zeros([], tf.float64),
            )
        gradients = tape.gradient(
            value,
            [variable.value for variable in variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return value, [tf.convert_to_tensor(gradient) for gradient in gradients]

    if compilation != "eager":
        step = tf.function(step, jit_compile=compilation == "xla")
    weights = discriminator.get()
    value, gradients = step(tf.constant(True))
    np.testing.assert_allclose(
        value, expected_value(cls, weights, *images, labels), rtol=1e-9
    )
    for name, gradient in zip(discriminator.weight_names, gradients, strict=True):
        expected = finite_differences(
            lambda moved: expected_value(cls, weights | {name: moved}, *images, labels),
            weights[name],
        )
        np.testing.assert_allclose(gradient, expected, atol=1e-8)
        used = {"rows": labels is not None or cls is penalties.L2}
        used["bias"] = cls is not penalties.L2
        assert (np.abs(expected).max() > 1e-3) == used.get(name, True)
    value, gradients = step(tf.constant(False))
    assert value == 0 and not any(np.any(gradient) for gradient in gradients)


@every_gradient_penalty
def test_a_flat_discriminator(cls):
    # The square root without epsilon has no gradient here.
    discriminator = SoftplusDiscriminator()
    discriminator.set({"kernel": np.zeros((SIZE, UNITS))})
    with tf.GradientTape() as tape:
        points = cls().points(*tensors(*batch(cls)))
        value = cls().value(discriminator, points, None)
    expected = 0.0 if cls is penalties.R1 else 0.99**2
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    gradient = tape.gradient(value, discriminator.kernel.value)
    np.testing.assert_array_equal(gradient, np.zeros((SIZE, UNITS)))


@every_penalty
def test_two_replicas_with_half_the_batch_equal_one_with_the_whole(cls, two_replicas):
    penalty, images = cls(), batch(cls)
    # The halves differ in contrast, so the deviation of one share would be wrong.
    images[0][3:] = 0.5 + 0.1 * images[0][3:]
    labels = np.array([2, 0, 1, 1, 0, 2])
    with two_replicas.scope():
        discriminator = SoftplusDiscriminator()

    def share(array):
        return None if array is None else halves(two_replicas, array)

    def on_replica(real, fake, noise, labels, due):
        with tf.GradientTape() as tape:
            points = penalty.points(real, fake, noise)
            value = tf.cond(
                due,
                lambda: penalty.value(discriminator, points, labels),
                lambda: tf.zeros([], tf.float64),
            )
        return points, value, tape.gradient(value, discriminator.kernel.value)

    @tf.function
    def step(args, due):
        return two_replicas.run(on_replica, args=(*args, due))

    points, values, gradients = [
        np.stack(two_replicas.experimental_local_results(result))
        for result in step([share(x) for x in (*images, labels)], tf.constant(True))
    ]
    weights = discriminator.get()
    if cls in ORACLES:
        expected = ORACLES[cls][0](*images)
        np.testing.assert_allclose(np.concatenate(points), expected, atol=1e-12)
    np.testing.assert_allclose(
        values.mean(), expected_value(cls, weights, *images, labels), rtol=1e-9
    )
    expected = finite_differences(
        lambda kernel: expected_value(
            cls, weights | {"kernel": kernel}, *images, labels
        ),
        weights["kernel"],
    )
    np.testing.assert_allclose(gradients.mean(axis=0), expected, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "penalty", "noise"),
    [
        ("wgangp", penalties.WganGP(), "alpha"),
        ("dragan", penalties.Dragan(), "noise"),
        ("l2", penalties.L2(), None),
    ],
)
def test_compare_gans_numbers(name, penalty, noise):
    settings, numbers = oracles.load_reference("penalties")
    discriminator = networks.build_discriminator(
        "resnet_cifar", networks.DiscriminatorSpec(image_shape=(32, 32, 3))
    )
    oracles.set_reference_weights(discriminator)
    real, fake = (
        tf.constant(numbers[key] / np.float32(255)) for key in ("x", "x_fake")
    )
    noise = None if noise is None else tf.constant(numbers[noise])
    variables = discriminator.trainable_variables
    with tf.GradientTape() as tape:
        points = penalty.points(real, fake, noise)
        value = penalty.value(discriminator, points, None)
    np.testing.assert_allclose(value, settings[name]["value"], rtol=1e-5)
    gradients = tape.gradient(
        value,
        [v.value for v in variables],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    norms = settings[name]["grad_norms"]
    assert {v.path for v in variables} == set(norms)
    for variable, gradient in zip(variables, gradients, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(np.float64(gradient)),
            norms[variable.path],
            rtol=1e-4,
            atol=1e-6,
            err_msg=variable.path,
        )
