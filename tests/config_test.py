"""Gin: what a config may bind, in whose names, and how wrong ones are refused."""

import re

import keras
import numpy as np
import pytest
import tiny

from ssgan_tf import config, gin_parser, losses
from ssgan_tf.gan import GAN


def errors_of(*bindings: str, files=(tiny.CONFIG,)) -> list[str]:
    """The lines of the error, without its heading."""
    with pytest.raises(config.ConfigError) as caught:
        config.parse([str(file) for file in files], bindings)
    heading, *lines = str(caught.value).splitlines()
    assert heading == "The configuration has lines that cannot be used:"
    return [line.strip() for line in lines]


def refusal(*bindings: str, build: bool = True) -> str:
    """The message of a config that parses but cannot be built."""
    with pytest.raises(config.ConfigError) as caught:
        plan = tiny.plan(*bindings)
        if build:
            plan.build_gan()
    assert "In call to configurable" not in str(caught.value)
    return str(caught.value)


def test_all_wrong_lines_are_listed_with_place_and_suggestion(tmp_path):
    file = tmp_path / "wrong.gin"
    file.write_text(
        "# A comment.\n"
        "options.batchsize = 3\n"
        "options.batch_size = 8\n"
        "\n"
        "optoins.z_dim = 3\n"
        "loss.fn = @hnge\n"
        "loss.fn = %los\n"
        "penalty.fn = @no_penalty\n"
        "G.architecture = 'resnet_cifar'\n"
        "import ssgan_tf.no_such_module\n"
        "include 'no_such.gin'\n"
    )
    errors = errors_of("options.bacth_size = 3", "D.with = 8", files=[file])
    assert [error.split(": ")[0] for error in errors] == [
        *(f"{file}:{line}" for line in (2, 5, 6, 8, 9, 10, 11)),
        "--gin_bindings:1",
        "--gin_bindings:1",
        f"{file}:7",
    ]
    batch_size, z_dim, loss, penalty, denied, module, include, bound, width, macro = (
        errors
    )
    assert "options.batchsize = 3" in batch_size
    assert "Did you mean options.batch_size" in batch_size
    assert "Did you mean options.z_dim" in z_dim
    assert "Did you mean hinge?" in loss
    assert "penalty" in penalty and "Did you mean" not in penalty
    assert "architecture" in denied
    assert "no_such_module" in module
    assert "no_such.gin" in include
    assert "Did you mean options.batch_size" in bound
    assert "Did you mean D.width" in width
    assert "%los: no line defines this macro" in macro


def test_reference_inside_a_list_is_named():
    (error,) = errors_of("loss.fn = [@hinge, @wassertein()]")
    assert "@wassertein" in error and "Did you mean wasserstein?" in error


def test_macros_work_and_vain_ones_are_refused():
    config.parse([tiny.CONFIG], ["width = 4", "G.width = %width", "D.width = %width"])
    (error,) = errors_of("training_steps = 20")
    assert error.startswith("--gin_bindings:1: training_steps:")
    assert error.endswith("Did you mean options.training_steps?")


@pytest.mark.parametrize(
    "text, line",
    [
        ("options.batch_size = \n", 1),
        ("options.z_dim = 8\noptions.batch_size = (1,\n", 2),
        ("options.z_dim = 8\noptions batch_size 3\n", 2),
        ("options.z_dim = 8\noptions.name = 'open\n", 2),
    ],
)
def test_syntax_errors_name_the_place(tmp_path, text, line):
    file = tmp_path / "wrong.gin"
    file.write_text(text)
    (error,) = errors_of(files=[file])
    found = re.match(re.escape(str(file)) + r":(\d+): ", error)
    assert found and abs(int(found[1]) - line) <= 1


def test_files_that_are_none(tmp_path):
    with pytest.raises(config.ConfigError, match="Received: .*nosuch.gin.*quickstart"):
        config.parse(["nosuch.gin"])
    binary = tmp_path / "binary.gin"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(config.ConfigError, match="binary.gin"):
        config.parse([str(binary)])


def test_a_file_that_includes_itself(tmp_path):
    file = tmp_path / "self.gin"
    file.write_text(f"include '{file}'\n")
    (error,) = errors_of(files=[file])
    assert "includes itself" in error


def test_later_sources_win_and_bindings_may_hold_several_lines(tmp_path):
    file = tmp_path / "mine.gin"
    file.write_text('include "quickstart.gin"\noptions.z_dim = 3\n')
    config.parse([str(file)], ["options.batch_size = 4\noptions.disc_iters = 5"])
    options = config.experiment().options
    assert (options.z_dim, options.batch_size, options.disc_iters) == (3, 4, 5)


def test_names_of_compare_gan(tmp_path):
    file = tmp_path / "old.gin"
    file.write_text(
        'dataset.name = "digits32"\n'
        'options.architecture = "resnet_cifar_arch"\n'
        "options.batch_size = 8\n"
        "options.gan_class = @ModularGAN\n"
        "options.training_steps = 100\n"
        "z.distribution_fn = @tf.random.normal\n"
        "G.batch_norm_fn = @batch_norm\n"
        "G.width = 4\n"
        "D.width = 4\n"
        "D.spectral_norm = True\n"
        "loss.fn = @non_saturating\n"
        "ModularGAN.g_lr = 0.0002\n"
        "ModularGAN.g_optimizer_fn = @tf.train.AdamOptimizer\n"
        "tf.train.AdamOptimizer.beta1 = 0.25\n"
        "tf.train.AdamOptimizer.beta2 = 0.75\n"
        "run_config.tf_random_seed = 7\n"
    )
    config.parse([str(file)])
    plan = config.experiment()
    assert plan.options.architecture == "resnet_cifar"
    assert plan.run.seed == 7
    gan = plan.build_gan()
    assert gan.latents.distribution == "normal"
    for optimizer in (gan.g_optimizer, gan.d_optimizer):
        assert (optimizer.beta_1, optimizer.beta_2) == (0.25, 0.75)

    file.write_text(file.read_text() + "options.lamba = 1\npenalty.fn = @no_penalty\n")
    errors = errors_of(files=[file])
    assert [error.split(": ")[1] for error in errors] == [
        "options.lamba = 1",
        "penalty.fn = @no_penalty",
    ]


@pytest.mark.parametrize(
    "binding",
    [
        'options.batch_size = "64"',
        "options.batch_size = 64.0",
        "options.batch_size = 0",
        "options.batch_size = True",
        "options.training_steps = -1",
        "options.disc_iters = 0",
        "options.z_dim = 0",
        "options.architecture = 3",
        'options.architecture = "resnet_cifra"',
        'options.gan_class = "SSGAN"',
        "options.gan_class = @hinge",
        'dataset.name = "digits23"',
        "dataset.name = ['digits32']",
        "run_config.seed = -1",
        "run_config.keep_checkpoint_max = 0",
        "run_config.iterations_per_loop = 0",
        "run_config.save_checkpoints_steps = 'often'",
        "run_config.save_summary_steps = 0",
        'run_config.deterministic = "yes"',
        "SSGAN.rotated_batch_size = 6",
        "SSGAN.rotated_batch_size = 0",
        "SSGAN.rotated_batch_size = '16'",
        "SSGAN.weight_rotation_loss_d = -1.0",
        "SSGAN.weight_rotation_loss_g = None",
        "ModularGAN.g_lr = -0.1",
        "ModularGAN.d_lr = '0.1'",
        "ModularGAN.g_use_ema = 'False'",
        "ModularGAN.ema_decay = 1.0",
        "ModularGAN.ema_start_step = -1",
        "ModularGAN.g_optimizer_fn = 'adam'",
        "ModularGAN.g_optimizer_fn = @hinge",
        "adam.beta1 = -0.5",
        "adam.beta2 = 1",
        "adam.epsilon = 'small'",
        'loss.fn = "hinge"',
        "loss.fn = @hinge()",
        "loss.fn = @adam",
        "z.distribution_fn = 'normal'",
        "G.batch_norm_fn = None",
        "G.width = 0",
        "D.width = 2.5",
        "D.spectral_norm = 1",
        "standardize_batch.decay = 1.5",
        "standardize_batch.epsilon = -0.5",
        "weights.stddev = -0.02",
        'weights.initializer = "glorot"',
    ],
)
def test_wrong_values_are_named(binding):
    key, value = binding.split(" = ")
    message = refusal(binding)
    assert "must" in message and "Received: " in message
    name = key.split(".")[1]
    # Both what is wrong and what it is.
    assert name in message
    assert value.strip("'\"[]@()") in message


def test_required_parameters(tmp_path):
    file = tmp_path / "short.gin"
    file.write_text('dataset.name = "digits32"\noptions.gan_class = @SSGAN\n')
    config.parse([str(file)])
    with pytest.raises(config.ConfigError) as caught:
        config.experiment()
    for name in ("architecture", "batch_size", "training_steps"):
        assert f"options.{name}" in str(caught.value)
    assert '--gin_bindings="options.architecture = ..."' in str(caught.value)

    file.write_text(
        'include "quickstart.gin"\n'
        "other/SSGAN.rotated_batch_size = 4\n"
        "options.gan_class = @ModularGAN\n"
    )
    text = gin_parser.find_config("quickstart.gin").read_text()
    file.write_text(text.replace("SSGAN.rotated_batch_size = 64\n", ""))
    config.parse([str(file)])
    with pytest.raises(config.ConfigError, match="SSGAN.rotated_batch_size"):
        config.experiment().build_gan()


def test_intervals_that_do_not_fit_the_loop():
    bindings = ("run_config.iterations_per_loop = 3",)
    message = refusal(*bindings, "run_config.save_checkpoints_steps = 4", build=False)
    assert "save_checkpoints_steps=4, iterations_per_loop=3" in message
    message = refusal(
        *bindings,
        "run_config.save_checkpoints_steps = 3",
        "run_config.save_summary_steps = 3",
        "options.training_steps = 100",
        build=False,
    )
    assert "training_steps=100, iterations_per_loop=3" in message


def test_values_arrive():
    gan = tiny.plan(
        "loss.fn = @wasserstein",
        "options.disc_iters = 3",
        "ModularGAN.g_lr = 0.25",
        "ModularGAN.d_lr = 0.5",
        "SSGAN.weight_rotation_loss_d = 2",
        "SSGAN.weight_rotation_loss_g = 0.5",
        "run_config.seed = 9",
    ).build_gan()
    assert isinstance(gan, GAN)
    assert isinstance(gan.adversarial_loss, losses.Wasserstein)
    assert isinstance(gan.g_optimizer, keras.optimizers.Adam)
    assert float(gan.g_optimizer.learning_rate) == 0.25
    assert float(gan.d_optimizer.learning_rate) == 0.5
    assert gan.rotation_task.d_weight == 2
    assert gan.rotation_task.g_weight == 0.5
    assert (gan.seed, gan.d_steps, gan.ema_decay) == (9, 3, 0.5)


def test_operative_config_says_all_and_parses_to_the_same(tmp_path):
    plan = tiny.plan()
    weights = plan.build_gan().get_weights()
    text = config.operative_config()
    for line in ("adam.epsilon = 1e-08", "run_config.keep_checkpoint_max = 20"):
        assert line in text.splitlines()  # Defaults are written out.

    file = tmp_path / "operative.gin"
    file.write_text(text)
    config.parse([str(file)])
    again = config.experiment()
    assert again == plan
    for ours, theirs in zip(again.build_gan().get_weights(), weights, strict=True):
        assert (ours == theirs).all()
    assert config.operative_config() == text


def test_linear_schedule_falls_to_zero_over_the_updates_of_each_network():
    gan = tiny.plan(
        "ModularGAN.lr_schedule = 'linear'",
        "ModularGAN.g_lr = 0.5",
        "options.training_steps = 10",
        "options.disc_iters = 3",
    ).build_gan()
    for optimizer, updates in ((gan.g_optimizer, 10), (gan.d_optimizer, 30)):
        for update in (0, 1, updates // 2, updates, updates + 1):
            optimizer.iterations.assign(update)
            expected = 0.5 * max(0.0, 1 - update / updates)
            np.testing.assert_allclose(
                float(optimizer.learning_rate), expected, rtol=1e-6, atol=1e-9
            )


def test_unknown_schedule():
    with pytest.raises(config.ConfigError, match="'constant' or 'linear'.*cosine"):
        tiny.plan("ModularGAN.lr_schedule = 'cosine'").build_gan()
