"""The plain train step is the same mathematics as ours."""

import importlib.util
import json

import numpy as np
import oracles
import pages
import pytest
import tensorflow as tf
import tiny
from paths import ROOT

from ssgan_tf.layers import resampling

PATH = ROOT / "benchmarks" / "plain.py"
spec = importlib.util.spec_from_file_location("plain", PATH)
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)

BINDINGS = (
    "ModularGAN.g_use_ema = False",
    # With a small epsilon Adam takes a whole step for a gradient of rounding noise.
    "adam.epsilon = 0.01",
)


@pytest.mark.parametrize(
    "bindings",
    [
        (),
        pytest.param(
            ("SSGAN.each_in_one = True", "SSGAN.rotated_batch_size = 8"),
            marks=pytest.mark.slow,
        ),
        ("options.gan_class = @ModularGAN", "options.disc_iters = 2"),
        ("G.batch_norm_fn = @self_modulated_batch_norm",),
    ],
)
def test_equals_our_step(bindings):
    ours, plain_gan = (tiny.plan(*BINDINGS, *bindings).build_gan() for _ in range(2))
    for network in ("generator", "discriminator"):
        oracles.copy_weights(getattr(ours, network), getattr(plain_gan, network))
    rng = np.random.default_rng(0)
    for _ in range(2):
        images = tf.constant(
            rng.integers(0, 256, (8 * ours.d_steps, 32, 32, 1), np.uint8)
        )
        logs = ours.train_step(images)
        with plain.forms():
            plain_logs = plain.step(plain_gan, images)
        if ours.d_steps == 1:
            np.testing.assert_allclose(logs["loss/d"], plain_logs["loss/d"], rtol=1e-4)
        np.testing.assert_allclose(logs["loss/g"], plain_logs["loss/g"], rtol=1e-4)
    for network in ("generator", "discriminator"):
        for actual, expected in zip(
            oracles.values(getattr(ours, network)),
            oracles.values(getattr(plain_gan, network)),
            strict=True,
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-5)


def test_plain_forms_end_with_the_context():
    before = dict(resampling.RESAMPLED_CONVS)
    with pytest.raises(KeyError), plain.forms():
        assert resampling.RESAMPLED_CONVS["up"] != before["up"]
        raise KeyError
    assert resampling.RESAMPLED_CONVS == before


def test_an_unsupported_gan_is_refused():
    gan = tiny.plan("ModularGAN.g_use_ema = True").build_gan()
    with pytest.raises(ValueError, match="RotationTask"):
        plain.step(gan, tf.zeros((8, 32, 32, 1), tf.uint8))


FOLDER = PATH.parent
TINY = tiny.flags()


def run_benchmark(script, *flags):
    """The JSON object in the last line of the output."""
    output = pages.run_python(str(FOLDER / script), *flags)
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
def test_train_step_runs():
    result = run_benchmark("train_step.py", *TINY, "--repeats=2", "--profile")
    assert result["device"] == "CPU" and result["precision"] == "float32"
    assert result["compiled"] is False and result["replicas"] == 1
    ms, plain_ms = result["ms_per_step"], result["ms_per_plain_step"]
    assert result["speedup_over_plain"] == pytest.approx(plain_ms / ms, rel=0.01)
    assert result["images_per_second"] == pytest.approx(8 / ms * 1e3, rel=0.01)
    work = result["gflop_counted"] / (ms / 1e3)
    peak = result["matmul_gflop_per_second"]
    # Both numbers are rounded, and the work is tiny.
    assert result["fraction_of_matmul_peak"] == pytest.approx(work / peak, abs=0.01)
    profile = result["profile_ms"]
    assert profile["convolutions"] > 0 and profile["ReLU"] > 0
    assert 0.2 * ms < sum(profile.values()) < 20 * ms
    assert 100 < result["peak_memory_mib"] < 10_000


@pytest.mark.slow
def test_train_step_runs_compiled_in_half_precision_on_two_replicas():
    precision = "--gin_bindings=options.precision = 'mixed_bfloat16'"
    flags = ["--repeats=2", "--noplain", "--jit_compile=true", "--replicas=2"]
    result = run_benchmark("train_step.py", *TINY, *flags, precision)
    assert result["compiled"] is True and result["replicas"] == 2
    assert result["precision"] == "mixed_bfloat16"
    assert "speedup_over_plain" not in result


@pytest.mark.slow
def test_other_benchmarks_run(tmp_path):
    flags = ["--seconds=0.2", "--steps=1", f"--tfds_data_dir={tmp_path}"]
    result = run_benchmark("input_pipeline.py", *TINY, *flags)
    rates = result["images_per_second"]
    assert set(rates) == {"decoded once", "on the fly"} and min(rates.values()) > 0
    ratio = min(rates.values()) / result["step_images_per_second"]
    assert result["ratio_to_step"] == pytest.approx(ratio, rel=0.02)
    flags = ["--num_images=16", "--batch_sizes=4,16", "--repeats=1"]
    result = run_benchmark("sampling.py", *TINY, *flags)
    assert [row["batch_size"] for row in result["rates"]] == [4, 16]
    assert all(value > 0 for row in result["rates"] for value in row.values())
    flags = ["--samples=300", "--dim=24", "--tfgan_samples=100"]
    result = run_benchmark("scores.py", *flags)
    assert result["relative_difference"] < 1e-6
    assert result["frechet_distance"] > 0 and result["distance_s"] > 0
