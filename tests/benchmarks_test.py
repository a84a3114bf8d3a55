"""The plain train step is the same mathematics as ours."""

import importlib.util
import pathlib

import numpy as np
import oracles
import pytest
import tensorflow as tf
import tiny

from ssgan_tf.layers import resampling

PATH = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "plain.py"
spec = importlib.util.spec_from_file_location("plain", PATH)
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)

BINDINGS = (
    "ModularGAN.g_use_ema = False",
    # Rounding must not decide: Adam makes a whole step of a gradient that is nearly 0.
    "adam.epsilon = 0.01",
)


@pytest.mark.parametrize(
    "bindings",
    [
        (),
        ("SSGAN.each_in_one = True", "SSGAN.rotated_batch_size = 8"),
        ("options.gan_class = @ModularGAN", "options.disc_iters = 2"),
        ("G.batch_norm_fn = @self_modulated_batch_norm",),
    ],
)
def test_equals_our_step(bindings):
    ours, plainly = (tiny.plan(*BINDINGS, *bindings).build_gan() for _ in range(2))
    for network in ("generator", "discriminator"):
        oracles.copy_weights(getattr(ours, network), getattr(plainly, network))
    rng = np.random.default_rng(0)
    for _ in range(2):
        images = tf.constant(
            rng.integers(0, 256, (8 * ours.d_steps, 32, 32, 1), np.uint8)
        )
        logs = ours.train_step(images)
        with plain.forms():
            plain_logs = plain.step(plainly, images)
        if ours.d_steps == 1:
            np.testing.assert_allclose(logs["loss/d"], plain_logs["loss/d"], rtol=1e-4)
        np.testing.assert_allclose(logs["loss/g"], plain_logs["loss/g"], rtol=1e-4)
    for network in ("generator", "discriminator"):
        for one, other in zip(
            oracles.values(getattr(ours, network)),
            oracles.values(getattr(plainly, network)),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


def test_the_plain_forms_go_with_the_context():
    before = dict(resampling.RESAMPLED_CONVS)
    with pytest.raises(KeyError), plain.forms():
        assert resampling.RESAMPLED_CONVS["up"] != before["up"]
        raise KeyError
    assert resampling.RESAMPLED_CONVS == before


def test_what_is_not_written_down_is_refused():
    gan = tiny.plan("ModularGAN.g_use_ema = True").build_gan()
    with pytest.raises(ValueError, match="must be one of an SS-GAN"):
        plain.step(gan, tf.zeros((8, 32, 32, 1), tf.uint8))
