"""The shipped configs: each parses, builds and steps."""

import numpy as np
import pytest

from ssgan_tf import config, gin_parser
from ssgan_tf.gan import GAN

# Path of the file: (rotated batch size or None, updates of D, normalization).
CONFIGS = {
    "quickstart.gin": (64, 1, "BatchNorm"),
    "sngan_cifar10.gin": (None, 2, "BatchNorm"),
    "ssgan_cifar10.gin": (64, 2, "BatchNorm"),
    "ssgan_sbn_cifar10.gin": (64, 2, "SelfModulatedBatchNorm"),
}
REDUCED = ("G.width = 4", "D.width = 4", "options.batch_size = 16")


def test_every_config_has_a_test():
    assert sorted(path.name for path in gin_parser.config_dir().glob("*")) == sorted(
        CONFIGS
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_header(name):
    header = []
    for line in gin_parser.find_config(name).read_text().splitlines():
        if not line.startswith("#"):
            break
        header.append(line)
    assert len(header) >= 4
    for start in ("# Run: ", "# Expected: ", "# Departs from the paper in: "):
        assert sum(line.startswith(start) for line in header) == 1
    assert any(name in line or "make quickstart" in line for line in header)


@pytest.mark.parametrize("name", CONFIGS)
def test_builds_and_steps(name):
    rotated_batch_size, d_steps, norm = CONFIGS[name]
    config.parse([name], REDUCED)
    plan = config.experiment()
    gan = plan.build_gan()
    assert isinstance(gan, GAN) and gan.d_steps == d_steps
    if rotated_batch_size is None:
        assert gan.rotation_task is None and gan.discriminator.rotation_head is None
    else:
        assert gan.rotation_task.rotated_batch_size == rotated_batch_size
        assert (gan.rotation_task.d_weight, gan.rotation_task.g_weight) == (1.0, 0.2)
    assert type(gan.generator.blocks[0].norm1).__name__ == norm

    networks = (gan.generator, gan.discriminator)
    # The bias of a hinge stays where it is while every logit is inside the margin.
    kernels = [v for net in networks for v in net.variables if v.name == "kernel"]
    before = [kernel.numpy() for kernel in kernels]
    shape = (d_steps * plan.options.batch_size, *plan.spec.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for step in range(2):
        assert int(gan.step) == step
        logs = gan.train_step(images)
    assert set(logs) == set(gan.log_names)
    assert all(np.isfinite(value) for value in logs.values())
    for old, kernel in zip(before, kernels, strict=True):
        assert np.isfinite(kernel.numpy()).all()
        assert (old != kernel.numpy()).any(), kernel.path


@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_start_independent_and_normal(name):
    config.parse([name])
    gan = config.experiment().build_gan()
    kernels = [
        (variable.path, variable.numpy().ravel())
        for net in (gan.generator, gan.discriminator)
        for variable in net.variables
        if variable.name == "kernel"
    ]
    for path, kernel in kernels:
        if kernel.size > 10_000:
            assert abs(kernel.std() / 0.02 - 1) < 0.05, path
            assert abs(kernel.mean()) < 0.001, path
    for i, (path, kernel) in enumerate(kernels):
        for other_path, other in kernels[:i]:
            size = min(kernel.size, other.size)
            if size > 100:
                correlation = np.corrcoef(kernel[:size], other[:size])[0, 1]
                assert abs(correlation) < 6 / np.sqrt(size), (path, other_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_full_widths_are_the_papers(name):
    config.parse([name])
    plan = config.experiment()
    assert plan.options.batch_size == 64 and plan.options.z_dim == 128
    if plan.dataset == "cifar10":
        gan = plan.build_gan()
        # Miyato et al., 2018, table 4, with compare_gan's 3x3 shortcuts.
        assert gan.generator.blocks[0].channels == 256
        assert gan.discriminator.blocks[0].channels == 128
        assert plan.options.training_steps == 100_000
