"""Networks against compare_gan: numbers of parameters, outputs, errors."""

import functools

import numpy as np
import oracles
import pytest
import tensorflow as tf

from ssgan_tf import networks
from ssgan_tf.layers import BatchNorm, SelfModulatedBatchNorm

NORMS = {"bn": BatchNorm, "sbn": SelfModulatedBatchNorm}
generator = functools.partial(
    networks.build_generator,
    "resnet_cifar",
    latent_dim=128,
    image_shape=(32, 32, 3),
    norm=BatchNorm,
    kernel_initializer="zeros",
)
discriminator = functools.partial(
    networks.build_discriminator,
    "resnet_cifar",
    image_shape=(32, 32, 3),
    rotation_head=False,
    spectral_norm=True,
    kernel_initializer="zeros",
)


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize("kind", NORMS)
class TestParity:
    def test_generator(self, kind):
        settings, numbers = oracles.load_reference(f"resnet_cifar_{kind}")
        model = generator(norm=NORMS[kind])
        names = {oracles.reference_name(v.path) for v in model.variables}
        assert names == {n for n in settings["variables"] if n.startswith("generator/")}
        assert trainable(model) == settings["g_trainable"]
        oracles.set_reference_weights(model)
        latents = tf.constant(numbers["z"])
        for training, key in ((False, "inference"), (True, "training")):
            np.testing.assert_allclose(
                model(latents, training=training),
                numbers[f"generated_{key}"],
                atol=1e-5,
            )

    def test_discriminator(self, kind):
        settings, numbers = oracles.load_reference(f"resnet_cifar_{kind}")
        model = discriminator()
        names = {oracles.reference_name(v.path) for v in model.variables}
        assert names == {
            n for n in settings["variables"] if n.startswith("discriminator/")
        }
        assert trainable(model) == settings["d_trainable"]
        # compare_gan advances the spectral-norm vectors before it uses them: so does
        # one call here, and only a training call keeps them.
        oracles.set_reference_weights(model)
        for training in (False, False, True):
            outputs = model(tf.constant(numbers["x"]), training=training)
            assert set(outputs) == {"logits", "features"}
            for key in outputs:
                np.testing.assert_allclose(outputs[key], numbers[key], atol=1e-5)
            np.testing.assert_allclose(
                tf.sigmoid(outputs["logits"]), numbers["prediction"], atol=1e-5
            )
        again = model(tf.constant(numbers["x"]))["logits"]
        assert np.abs(again - numbers["logits"]).max() > 1e-4


def test_the_rotation_head_adds_516_parameters():
    with_head, without = discriminator(rotation_head=True), discriminator()
    assert trainable(without) == 1_483_137
    assert trainable(with_head) == 1_483_137 + 516
    outputs = with_head(tf.zeros((2, 32, 32, 3)))
    assert outputs["rotation_logits"].shape == (2, 4)
    assert outputs["logits"].shape == (2, 1)


def test_the_rotation_head_reads_the_features_through_its_normalized_kernel():
    model = discriminator(rotation_head=True, width=4)
    oracles.randomize(model, 0)
    images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype("float32")
    head = model.rotation_head
    sigma, _, _ = oracles.power_iteration(head.kernel, head.spectral_norm.u)
    outputs = model(tf.constant(images))
    expected = outputs["features"] @ (np.array(head.kernel) / sigma)
    np.testing.assert_allclose(
        outputs["rotation_logits"], expected + np.array(head.bias), atol=1e-5
    )


def test_without_spectral_norm_there_are_no_vectors():
    assert discriminator(spectral_norm=False, width=2).non_trainable_variables == []


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize("channels", [1, 3])
def test_colours(channels, norm):
    shape = (32, 32, channels)
    fakes = generator(image_shape=shape, norm=norm, width=2)(tf.zeros((2, 128)))
    assert fakes.shape == (2, *shape)
    np.testing.assert_array_equal(fakes, 0.5)  # sigmoid of a zero kernel
    outputs = discriminator(image_shape=shape, width=2)(fakes)
    assert outputs["features"].shape == (2, 2)


def test_width_scales_every_block():
    def conv(channels_in, channels_out):
        return 9 * channels_in * channels_out + channels_out

    block, norm = 3 * conv(4, 4), 2 * 4
    assert trainable(generator(width=4)) == (
        (128 * 64 + 64) + 3 * (block + 2 * norm) + norm + conv(4, 3)
    )
    # The first block: shortcut and first convolution see the colours. The inner width
    # is that of the block's output.
    first = 2 * conv(3, 4) + conv(4, 4)
    assert trainable(discriminator(width=4)) == first + 3 * block + (4 + 1)


def test_spectral_norm_in_g_reaches_every_kernel():
    model = generator(spectral_norm=True, width=2)
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    vectors = [v for v in model.non_trainable_variables if v.name == "u"]
    assert len(kernels) == len(vectors) == 11


def test_latents_reach_the_norms():
    model = generator(norm=SelfModulatedBatchNorm, width=2, latent_dim=6)
    oracles.randomize(model, 0)
    # Without its linear layer G still sees z, through its norms.
    model.fc_noise.kernel.assign(tf.zeros((6, 32)))
    latents = tf.constant(np.random.default_rng(0).normal(size=(2, 6)), tf.float32)
    fakes = model(latents).numpy()
    assert np.abs(fakes[0] - fakes[1]).max() > 1e-3


@pytest.mark.parametrize("build", [generator, discriminator])
class TestErrors:
    def test_unknown_name(self, build):
        with pytest.raises(ValueError, match="'resnet_cifr'.*Did you mean 'resnet_cif"):
            build.func("resnet_cifr", **build.keywords)
        with pytest.raises(ValueError, match=r"one of \['resnet_cifar'"):
            build.func("nothing like it", **build.keywords)

    def test_not_square(self, build):
        with pytest.raises(ValueError, match=r"square.*image_shape=\(32, 40, 3\)"):
            build(image_shape=(32, 40, 3))

    def test_wrong_size(self, build):
        with pytest.raises(ValueError, match=r"size 32.*image_shape=\(64, 64, 3\)"):
            build(image_shape=(64, 64, 3))

    @pytest.mark.parametrize("channels", [0, 2, 4])
    def test_wrong_channels(self, build, channels):
        with pytest.raises(ValueError, match=rf"1 or 3.*\(32, 32, {channels}\)"):
            build(image_shape=(32, 32, channels))

    @pytest.mark.parametrize("width", [0, -1])
    def test_wrong_width(self, build, width):
        with pytest.raises(ValueError, match=f"width={width}"):
            build(width=width)
