"""Gin: the names and values that a config may bind, and the errors of wrong ones."""

import dataclasses
import re

import gin
import keras
import numpy as np
import pytest
import tiny

from ssgan_tf import config, layers, losses, penalties
from ssgan_tf.config import gan as config_gan
from ssgan_tf.config import networks
from ssgan_tf.gan import GAN
from ssgan_tf.networks import resnet

# The fewest variables.
SMALL = ("options.architecture = 'dcgan'",)


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
        "infogan.fn = @no_penalty\n"
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
    assert "infogan" in penalty and "Did you mean" not in penalty
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
    assert "options.training_steps" in error


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
    place = re.match(re.escape(str(file)) + r":(\d+): ", error)
    assert place and abs(int(place[1]) - line) <= 1


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
    options = config.plan().options
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
        "penalty.fn = @dragan_penalty\n"
        "options.lamba = 10\n"
        "ModularGAN.g_lr = 0.0002\n"
        "ModularGAN.g_optimizer_fn = @tf.train.AdamOptimizer\n"
        "tf.train.AdamOptimizer.beta1 = 0.25\n"
        "tf.train.AdamOptimizer.beta2 = 0.75\n"
        "run_config.tf_random_seed = 7\n"
    )
    config.parse([str(file)])
    plan = config.plan()
    assert plan.options.architecture == "resnet_cifar"
    assert plan.run.seed == 7
    gan = plan.build_gan()
    assert gan.latents.distribution == "normal"
    assert isinstance(gan.penalty, penalties.Dragan) and gan.penalty_weight == 10
    for optimizer in (gan.g_optimizer, gan.d_optimizer):
        assert (optimizer.beta_1, optimizer.beta_2) == (0.25, 0.75)


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


# compare_gan's BigGAN example, as names and values.
BIGGAN = (
    'dataset.name = "imagenet_128"',
    "options.z_dim = 120",
    'options.architecture = "resnet_biggan_arch"',
    "ModularGAN.conditional = True",
    "options.batch_size = 2048",
    "options.gan_class = @ModularGAN",
    "options.lamba = 1",
    "options.training_steps = 250000",
    'weights.initializer = "orthogonal"',
    'spectral_norm.singular_value = "auto"',
    "G.batch_norm_fn = @conditional_batch_norm",
    "G.spectral_norm = True",
    "ModularGAN.g_use_ema = True",
    "resnet_biggan.Generator.hierarchical_z = True",
    "resnet_biggan.Generator.embed_y = True",
    "standardize_batch.decay = 0.9",
    "standardize_batch.epsilon = 1e-5",
    "standardize_batch.use_moving_averages = False",
    "options.disc_iters = 2",
    "D.spectral_norm = True",
    "resnet_biggan.Discriminator.project_y = True",
    "loss.fn = @hinge",
    "penalty.fn = @no_penalty",
    "ModularGAN.g_lr = 0.0001",
    "ModularGAN.g_optimizer_fn = @tf.train.AdamOptimizer",
    "ModularGAN.d_lr = 0.0005",
    "ModularGAN.d_optimizer_fn = @tf.train.AdamOptimizer",
    "tf.train.AdamOptimizer.beta1 = 0.0",
    "tf.train.AdamOptimizer.beta2 = 0.999",
    "z.distribution_fn = @tf.random.normal",
    "eval_z.distribution_fn = @tf.random.normal",
    "run_config.iterations_per_loop = 500",
    "run_config.save_checkpoints_steps = 2500",
    "run_config.save_summary_steps = 500",
)
NARROW = (
    "resnet_biggan.Generator.ch = 4",
    "resnet_biggan.Discriminator.ch = 8",
    "resnet_biggan.Discriminator.blocks_with_attention = 'B2'",
)


@pytest.mark.slow
def test_compare_gans_biggan_example():
    config.parse([], BIGGAN + NARROW)
    plan = config.plan()
    assert plan.dataset == "imagenet128" and plan.standing_examples == 204_800
    gan = plan.build_gan()
    assert gan.num_classes == 1000 and gan.penalty is None
    assert gan.generator.blocks[0].conv1.units == 16 * 4
    assert gan.generator.deal is resnet.split_latents
    kinds = [isinstance(v, layers.SelfAttention) for v in gan.discriminator.trunk]
    assert kinds.count(True) == 1 and kinds.index(True) == 2
    # "auto" keeps the shorter vector.
    for net in (gan.generator, gan.discriminator):
        shapes = {v.path: tuple(v.shape) for v in net.variables}
        vectors = {p: s for p, s in shapes.items() if p.endswith("spectral_norm/u")}
        assert len(vectors) > 20
        for path, shape in vectors.items():
            kernel = shapes[path.replace("spectral_norm/u", "kernel")]
            assert max(shape) == min(np.prod(kernel[:-1]), kernel[-1])


@pytest.mark.parametrize(
    "line, expected",
    [
        ("resnet_biggan.Generator.embed_y = False", "True, as ModularGAN.conditional"),
        ("eval_z.distribution_fn = @tf.random.uniform", "@normal, as z.distribution"),
    ],
)
def test_what_follows_from_other_parameters_cannot_be_another(line, expected):
    (error,) = errors_of(*BIGGAN, line, files=[])
    assert f"here it is always {expected}" in error


@pytest.mark.parametrize(
    "architecture, line, deal, width",
    [
        ("resnet_cifar", "True", resnet.split_latents, 2),
        ("resnet_cifar", "None", resnet.whole_latents, 8),
        ("resnet_biggan", "False", resnet.whole_latents, 8),
    ],
)
def test_hierarchical_z(architecture, line, deal, width):
    name = f"{architecture}.Generator.hierarchical_z"
    tiny.plan(
        f"{name if line != 'None' else 'G.hierarchical_z'} = {line}",
        "G.batch_norm_fn = @self_modulated_batch_norm",
    )
    fields = {"image_shape": (32, 32, 1), "num_classes": 0, "latent_dim": 8}
    generator = networks.generator(architecture, fields)
    assert generator.deal is deal and generator.latent_dim == 8
    assert generator.blocks[0].norm1.hidden.kernel.shape == (width, 32)


def test_hierarchical_z_where_there_is_none():
    line = "G.hierarchical_z = True"
    message = refusal("options.architecture = 'sndcgan'", line)
    assert "'sndcgan'" in message and "resnet_cifar, resnet_" in message
    assert "G.hierarchical_z" in refusal("G.hierarchical_z = 1")


@pytest.mark.parametrize("centered", ["True", "False", "1"])
def test_gain_of_conditional_norms(centered):
    config.parse([tiny.CONFIG], [f"conditional_batch_norm.center_gain = {centered}"])
    if centered == "1":
        with pytest.raises(config.ConfigError, match="center_gain=1"):
            networks.conditional_batch_norm("norm", None)
    else:
        norm = networks.conditional_batch_norm("norm", None)
        assert norm.center_gain == (centered == "True")


def test_implied_parameters_have_the_defaults_of_what_implies_them():
    config.parse([tiny.CONFIG], ["S3GAN.project_y = False"])
    (error,) = errors_of("S3GAN.project_y = True")
    assert "always False, as ModularGAN.conditional" in error


class TestSweepFiles:
    TEXT = "# Rows.\n\n[one]\noptions.z_dim = 3\n\n[two.5]\noptions.zdim = 5\n"

    def write(self, tmp_path, text=TEXT):
        path = tmp_path / "rows.sweep"
        path.write_text(text)
        return path

    def test_a_row_is_a_config(self, tmp_path):
        path = self.write(tmp_path)
        config.parse([tiny.CONFIG, f"{path}#one"])
        assert config.plan().options.z_dim == 3
        assert list(config.sweep_rows(str(path))) == ["one", "two.5"]

    def test_errors_name_the_line_of_the_file(self, tmp_path):
        path = self.write(tmp_path)
        (error,) = errors_of(files=[tiny.CONFIG, f"{path}#two.5"])
        assert error.startswith(f"{path}:7: options.zdim = 5")

    @pytest.mark.parametrize("name", ["", "#", "#three"])
    def test_unknown_rows(self, tmp_path, name):
        with pytest.raises(config.ConfigError, match="FILE#ROW.*Rows: one, two.5"):
            config.parse([f"{self.write(tmp_path)}{name}"])

    @pytest.mark.parametrize(
        "text, message",
        [
            ("options.z_dim = 3\n[one]\n", ":1: a line before the first"),
            ("[one]\n[one]\n", ":2: a second row"),
            ("# Nothing.\n", "must have rows"),
        ],
    )
    def test_malformed_files(self, tmp_path, text, message):
        with pytest.raises(config.ConfigError, match=message):
            config.sweep_rows(str(self.write(tmp_path, text)))


@pytest.mark.parametrize(
    "bindings, message",
    [
        (["dataset.label_fraction = 0.5"], "ModularGAN.conditional = True"),
        (["dataset.label_fraction = 0"], r"in \(0, 1\]"),
        (
            ["ModularGAN.conditional = True", "dataset.name = 'celeb_a_hq'"],
            "data set without labels",
        ),
        (
            ["G.batch_norm_fn = @conditional_batch_norm"],
            r"\AA conditional norm needs labels.*ModularGAN.conditional = True",
        ),
        (["augmentation.policy = 3"], "must be a list.*policy=3"),
        (["augmentation.policy = [['color']]"], "one of 'color', 'translation'"),
        (["ModularGAN.tasks = 3"], r"must be a list, such as \[@my_task\]"),
        (["weights.stddev = 0"], "stddev=0"),
        (["ModularGAN.lr_schedule = 'cosine'"], "'constant', 'linear'.*cosine"),
        (["weights.initializer = 'xavier'"], "'normal', 'truncated', 'orthogonal'"),
        (["spectral_norm.singular_value = 'both'"], "'auto', 'left', 'right'"),
        (["SSGAN.self_supervision = 'jigsaw'"], "'rotation_gan'.*'minimax_rotation'"),
        (["penalty.fn = @hinge"], "makes Penalty"),
        (["penalty.interval = 0"], "at least 1"),
        (["augmentation.policy = 'color'"], "policy='color'"),
        (["augmentation.policy = ['colour']"], "color"),
        (["G.attention = 'B1'"], "no `attention`; resnet_biggan"),
        (["options.architecture = 'sndcgan'", "D.layer_norm = True"], "layer_norm"),
        (
            ["options.architecture = 'dcgan'", "G.spectral_norm = True"],
            "G.spectral_norm",
        ),
        (["options.architecture = 'resnet_stl'"], "size 48.*resnet5"),
        (["ModularGAN.tasks = [@hinge]"], "makes Task"),
        (
            [
                "options.gan_class = @S3GAN",
                "S3GAN.rotated_batch_fraction = 3",
            ],
            "must divide the batch size",
        ),
        (
            [
                "SSGAN.self_supervision = 'label_augmentation'",
                "ModularGAN.conditional = True",
                "G.batch_norm_fn = @conditional_batch_norm",
            ],
            "rotation_classes=8, num_classes=10",
        ),
    ],
)
def test_what_does_not_fit_together(bindings, message):
    assert re.search(message, refusal(*bindings))


@pytest.mark.parametrize(
    "parameter, legal",
    [
        ("loss.fn", "@hinge, @non_saturating, @wasserstein, @least_squares"),
        (
            "penalty.fn",
            "@no_penalty, @wgangp_penalty, @dragan_penalty, @r1_penalty, @l2_penalty",
        ),
        (
            "G.batch_norm_fn",
            "@batch_norm, @self_modulated_batch_norm, @conditional_batch_norm",
        ),
        ("z.distribution_fn", "@uniform, @normal"),
        ("options.gan_class", "@ModularGAN, @SSGAN, @S3GAN"),
        ("ModularGAN.d_optimizer_fn", "@adam"),
    ],
)
def test_unknown_references_are_answered_with_the_legal_ones(parameter, legal):
    hint = f"Legal: {legal}, or one of your own."
    (error,) = errors_of(f"{parameter} = @nothing_like_it")
    assert error.endswith(hint)
    assert refusal(f"{parameter} = 'hinge'").endswith(hint)


@pytest.mark.parametrize("loop", [1, 30, 500])
def test_intervals_fit_the_loop_where_they_are_not_set(loop):
    kept = [
        line
        for line in config.find_config(tiny.CONFIG).read_text().splitlines()
        if not line.startswith("run_config.")
    ]
    config.parse(
        [],
        [
            *kept,
            f"run_config.iterations_per_loop = {loop}",
            "options.training_steps = 1500",
        ],
    )
    run = config.plan().run
    for steps, least in (
        (run.save_checkpoints_steps, 5000),
        (run.save_summary_steps, 100),
    ):
        assert steps % loop == 0 and least <= steps < least + loop


@pytest.mark.parametrize("norm", ["batch_norm", "self_modulated_batch_norm"])
@pytest.mark.parametrize("architecture", ["resnet_cifar", "resnet_biggan", "sndcgan"])
def test_a_conditional_generator_must_read_its_labels(norm, architecture):
    message = refusal(
        "ModularGAN.conditional = True",
        f"G.batch_norm_fn = @{norm}",
        f"options.architecture = '{architecture}'",
        "D.width = 8",
    )
    assert "must read its labels" in message and "@conditional_batch_norm" in message


def test_without_norms_that_read_labels_biggan_deep_reads_them():
    config.parse([tiny.CONFIG], ["G.width = 4"])
    fields = {"image_shape": (32, 32, 1), "num_classes": 10, "latent_dim": 8}
    generator = networks.generator("resnet_biggan_deep", fields)
    assert generator.num_classes == 10


@pytest.mark.parametrize(
    "name, kind",
    [
        ("no", None),
        ("wgangp", penalties.WganGP),
        ("dragan", penalties.Dragan),
        ("r1", penalties.R1),
        ("l2", penalties.L2),
    ],
)
def test_penalties(name, kind):
    tiny.plan(f"penalty.fn = @{name}_penalty", "penalty.interval = 4")
    penalty, interval = config_gan.penalty()
    assert (penalty if kind is None else type(penalty)) == kind and interval == 4


@pytest.mark.parametrize("name", ["normal", "truncated", "orthogonal"])
def test_initializers(name):
    tiny.plan(f"weights.initializer = '{name}'", "weights.stddev = 0.5")
    keras.utils.set_random_seed(0)
    kernel = networks.weights()((3, 3, 32, 32)).numpy().reshape(-1, 32)
    if name == "orthogonal":
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(32), atol=1e-5)
    else:
        assert abs(kernel.mean()) < 0.02
        # A normal law cut at two deviations keeps 0.88 of its deviation.
        expected = 0.5 if name == "normal" else 0.5 * 0.8796
        assert abs(kernel.std() / expected - 1) < 0.03
        assert (np.abs(kernel).max() > 1) == (name == "normal")


S3GAN = (
    *SMALL,
    "options.gan_class = @S3GAN",
    "ModularGAN.conditional = True",
    "G.batch_norm_fn = @conditional_batch_norm",
)


def test_s3gan_and_augmentation_arrive():
    gan = tiny.plan(
        *S3GAN,
        "S3GAN.each_in_one = True",
        "S3GAN.g_anneal_steps = 7",
        "S3GAN.rotated_batch_fraction = 2",
        "S3GAN.use_predictor = True",
        "S3GAN.use_soft_pred = True",
        "S3GAN.weight_class_loss = 0.5",
        "augmentation.policy = ['cutout']",
        # compare_gan's S3GAN projects by itself.
        "resnet_biggan.Discriminator.project_y = False",
        "S3GAN.project_y = True",
    ).build_gan()
    rotation, predictor = gan.tasks
    assert rotation.rotated_batch_size == 4 and predictor.weight == 0.5
    assert rotation.each_in_one and rotation.g_anneal_steps == 7
    assert gan.discriminator.soft_predictions and gan.num_classes == 10
    assert gan.augmentation.policy == ("cutout",)


def test_required_parameters(tmp_path):
    file = tmp_path / "short.gin"
    file.write_text('dataset.name = "digits32"\noptions.gan_class = @SSGAN\n')
    config.parse([str(file)])
    with pytest.raises(config.ConfigError) as caught:
        config.plan()
    for name in ("architecture", "batch_size", "training_steps"):
        assert f"options.{name}" in str(caught.value)
    assert '--gin_bindings="options.architecture = ..."' in str(caught.value)

    file.write_text(
        'include "quickstart.gin"\n'
        "other/SSGAN.rotated_batch_size = 4\n"
        "options.gan_class = @ModularGAN\n"
    )
    text = config.find_config("quickstart.gin").read_text()
    file.write_text(text.replace("SSGAN.rotated_batch_size = 64\n", ""))
    config.parse([str(file)])
    with pytest.raises(config.ConfigError, match="SSGAN.rotated_batch_size"):
        config.plan().build_gan()


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
        *SMALL,
        "loss.fn = @wasserstein",
        "penalty.fn = @r1_penalty",
        "penalty.interval = 4",
        "options.lamba = 3",
        "ModularGAN.d_optimizer_fn = @d/adam",
        "d/adam.beta1 = 0.5",
        "adam.beta1 = 0.25",
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
    assert (gan.g_optimizer.beta_1, gan.d_optimizer.beta_1) == (0.25, 0.5)
    assert isinstance(gan.penalty, penalties.R1)
    assert (gan.penalty_interval, gan.penalty_weight) == (4, 3)
    (task,) = gan.tasks
    assert (task.d_weight, task.g_weight) == (2, 0.5)
    assert (gan.seed, gan.d_steps, gan.ema_decay) == (9, 3, 0.5)


def test_operative_config_says_all_and_parses_to_the_same(tmp_path):
    plan = tiny.plan(*SMALL)
    weights = plan.build_gan().get_weights()
    text = config.operative_config()
    for line in ("adam.epsilon = 1e-08", "run_config.keep_checkpoint_max = 20"):
        assert line in text.splitlines()  # Defaults are written out.

    file = tmp_path / "operative.gin"
    file.write_text(text)
    config.parse([str(file)])
    again = config.plan()
    assert again == plan
    for ours, theirs in zip(again.build_gan().get_weights(), weights, strict=True):
        assert (ours == theirs).all()
    assert config.operative_config() == text


def test_linear_schedule_falls_to_zero_over_the_updates_of_each_network():
    gan = tiny.plan(
        *SMALL,
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


class TestDataclasses:
    def test_fields_that_are_not_passed_come_from_gin(self):
        config.parse([tiny.CONFIG], ["run_config.seed = 9", "dataset.flip = True"])
        assert config.RunConfig().seed == 9 and config.DatasetOptions().flip
        assert config.RunConfig(seed=3).seed == 3
        with pytest.raises(config.ConfigError, match="seed=-1"):
            config.RunConfig(seed=-1)

    def test_a_copy_reads_nothing_from_gin(self):
        plan = tiny.plan("run_config.seed = 9")
        config.parse([tiny.CONFIG], ["run_config.seed = 5", "options.z_dim = 3"])
        run = dataclasses.replace(plan.run, on_nan="rollback")
        assert (run.seed, run.on_nan) == (9, "rollback")
        assert dataclasses.replace(plan.options).z_dim == 8

    def test_a_copy_is_checked(self):
        with pytest.raises(config.ConfigError, match="batch_size=0"):
            dataclasses.replace(tiny.plan().options, batch_size=0)


@gin.configurable
def own_gan(plan):
    """Makes a GAN as a user's module may: from nothing but the plan."""
    return config_gan.modular_gan(plan)


@pytest.mark.parametrize("gan_class", ["SSGAN", "own_gan"])
def test_jit_compile_reaches_the_gan(gan_class):
    plan = tiny.plan(*SMALL, f"options.gan_class = @{gan_class}")
    assert plan.build_gan().jit_compile is False
    compiled = dataclasses.replace(plan, jit_compile=True)
    assert compiled.build_gan().jit_compile is True
