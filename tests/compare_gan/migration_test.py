"""Gin files of compare_gan become files of ours: lines, values, remarks, the page."""

import ast
import inspect
import re

import gin
import pytest
from absl import app, flags
from absl.testing import flagsaver
from paths import ROOT

from ssgan_tf import config, datasets, networks
from ssgan_tf.commands import migrate
from ssgan_tf.compare_gan import differences, migration
from ssgan_tf.config import compare_gan_names, parser

PAGE = (ROOT / "docs/migrating.md").read_text()

# compare_gan's example configs as names and values; most have these in common.
_COMMON = {
    "options.gan_class": "@ModularGAN",
    "options.batch_size": 64,
    "options.lamba": 1,
    "options.z_dim": 128,
    "G.batch_norm_fn": "@batch_norm",
    "standardize_batch.decay": 0.9,
    "standardize_batch.epsilon": 1e-5,
    "loss.fn": "@non_saturating",
    "penalty.fn": "@no_penalty",
    "ModularGAN.g_lr": 0.0002,
    "ModularGAN.g_optimizer_fn": "@tf.train.AdamOptimizer",
    "tf.train.AdamOptimizer.beta1": 0.5,
    "tf.train.AdamOptimizer.beta2": 0.999,
}
EXAMPLES = {
    "biggan_imagenet128": _COMMON
    | {
        "dataset.name": "imagenet_128",
        "options.architecture": "resnet_biggan_arch",
        "options.batch_size": 2048,
        "options.training_steps": 250000,
        "options.disc_iters": 2,
        "options.z_dim": 120,
        "ModularGAN.conditional": True,
        "ModularGAN.d_lr": 0.0005,
        "ModularGAN.d_optimizer_fn": "@tf.train.AdamOptimizer",
        "ModularGAN.g_lr": 0.0001,
        "ModularGAN.g_use_ema": True,
        "weights.initializer": "orthogonal",
        "spectral_norm.singular_value": "auto",
        "G.batch_norm_fn": "@conditional_batch_norm",
        "G.spectral_norm": True,
        "resnet_biggan.Generator.hierarchical_z": True,
        "resnet_biggan.Generator.embed_y": True,
        "standardize_batch.use_moving_averages": False,
        "D.spectral_norm": True,
        "resnet_biggan.Discriminator.project_y": True,
        "loss.fn": "@hinge",
        "tf.train.AdamOptimizer.beta1": 0.0,
        "z.distribution_fn": "@tf.random.normal",
        "eval_z.distribution_fn": "@tf.random.normal",
        "run_config.iterations_per_loop": 500,
        "run_config.save_checkpoints_steps": 2500,
    },
    "dcgan_celeba64": _COMMON
    | {
        "dataset.name": "celeb_a",
        "options.architecture": "dcgan_arch",
        "options.training_steps": 100000,
        "options.disc_iters": 1,
        "D.spectral_norm": False,
    },
    "resnet_cifar10": _COMMON
    | {
        "dataset.name": "cifar10",
        "options.architecture": "resnet_cifar_arch",
        "options.training_steps": 40000,
        "options.disc_iters": 5,
        "D.spectral_norm": True,
    },
    "resnet_lsun-bedroom128": _COMMON
    | {
        "dataset.name": "lsun-bedroom",
        "options.architecture": "resnet5_arch",
        "options.lamba": 10,
        "options.training_steps": 40000,
        "options.disc_iters": 5,
        "D.spectral_norm": False,
        "loss.fn": "@wasserstein",
        "penalty.fn": "@wgangp_penalty",
        "ModularGAN.g_lr": 0.0001,
        "tf.train.AdamOptimizer.beta2": 0.9,
    },
    "sndcgan_celebahq128": _COMMON
    | {
        "dataset.name": "celeb_a_hq_128",
        "options.architecture": "sndcgan_arch",
        "options.training_steps": 100000,
        "options.disc_iters": 1,
        "D.spectral_norm": True,
    },
}
# As SS-GAN and S3GAN were trained on TPUs.
SSGAN = EXAMPLES["resnet_cifar10"] | {
    "options.gan_class": "@SSGAN",
    "options.disc_iters": 2,
    "SSGAN.self_supervision": "rotation_gan",
    "SSGAN.rotated_batch_size": 64,
    "SSGAN.weight_rotation_loss_d": 1.0,
    "SSGAN.weight_rotation_loss_g": 0.5,
    "ModularGAN.conditional": False,
    "loss.fn": "@hinge",
    "G.batch_norm_fn": "@self_modulated_batch_norm",
    "run_config.tf_random_seed": 7,
}
S3GAN = EXAMPLES["biggan_imagenet128"] | {
    "options.gan_class": "@S3GAN",
    "S3GAN.self_supervision": "rotation",
    "S3GAN.rotated_batch_fraction": 16,
    "S3GAN.project_y": True,
    "S3GAN.use_predictor": True,
    "S3GAN.use_soft_pred": True,
    "S3GAN.weight_class_loss": 0.5,
    "resnet_biggan.Discriminator.project_y": False,
}
ALL = EXAMPLES | {"ssgan": SSGAN, "s3gan": S3GAN}
# What their lines become.
OTHER_NAMES = {
    "run_config.tf_random_seed": "run_config.seed",
    "resnet_biggan.Generator.hierarchical_z": "G.hierarchical_z",
    "tf.train.AdamOptimizer.beta1": "adam.beta1",
    "tf.train.AdamOptimizer.beta2": "adam.beta2",
}
OTHER_VALUES = {
    "imagenet_128": "imagenet128",
    "celeb_a": "celeb_a64",
    "lsun-bedroom": "lsun_bedroom",
    "celeb_a_hq_128": "celeb_a_hq",
    "dcgan_arch": "dcgan",
    "resnet5_arch": "resnet5",
    "resnet_biggan_arch": "resnet_biggan",
    "resnet_cifar_arch": "resnet_cifar",
    "sndcgan_arch": "sndcgan",
    "@tf.train.AdamOptimizer": "@adam",
    "@tf.random.normal": "@normal",
}
DROPPED = {
    "eval_z.distribution_fn",
    "resnet_biggan.Generator.embed_y",
    "resnet_biggan.Discriminator.project_y",
    "S3GAN.project_y",
}


def gin_text(facts):
    """A gin file of names and values; a text behind @ is a reference."""

    def value(fact):
        return fact if str(fact).startswith("@") else repr(fact)

    return "".join(f"{key} = {value(fact)}\n" for key, fact in facts.items())


def migrated(text, tmp_path, name="old.gin"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return migration.migrate(str(path))


def without(facts, *keys):
    return {key: fact for key, fact in facts.items() if key not in keys}


def kinds(result):
    return [remark.kind for remark in result.remarks if remark.kind != "differs"]


def unmapped(result):
    return [remark.text for remark in result.remarks if remark.kind == "not mapped"]


def differing(result):
    return " ".join(r.text for r in result.remarks if r.kind == "differs")


def plan_of(text, *bindings):
    parser.parse_texts([(text, "text"), *((line, "line") for line in bindings)])
    return config.plan()


# -------------------------------------------------------------------- whole files


@pytest.mark.parametrize("name", ALL)
def test_an_example_of_compare_gan(name, tmp_path):
    facts = ALL[name]
    old, kept = gin_text(facts), without(facts, *DROPPED)
    ours = {
        OTHER_NAMES.get(key, key): OTHER_VALUES.get(fact, fact)
        for key, fact in kept.items()
    }
    result = migrated(old, tmp_path)
    assert result.text == gin_text(ours) + (
        "\n# compare_gan's defaults, which differ from ours.\n"
        "# To keep all checkpoints for scoring.\n"
        "run_config.keep_checkpoint_max = 1000\n"
    )
    num_same = len(ours.items() & facts.items())
    assert (result.is_complete, result.num_kept) == (True, num_same)
    assert kinds(result).count("renamed") == len(kept) - num_same
    assert kinds(result).count("dropped") == len(facts) - len(kept)
    # The second time nothing changes.
    again = migrated(result.text, tmp_path)
    assert again.text == result.text and not again.remarks
    # `ssgan train` reads the old file as the new one.
    config.parse([], [old])
    bound = set(config.bindings().splitlines())
    config.parse([], [result.text])
    added = set(config.bindings().splitlines()) - bound
    assert bound <= set(config.bindings().splitlines())
    assert {line for line in added if line and line[0] != "#"} == {
        "run_config.keep_checkpoint_max = 1000"
    }


def test_every_shipped_config_stays_as_it_is():
    files = sorted(config.config_dir().glob("*.gin"))
    assert len(files) > 20
    for file in files:
        result = migration.migrate(str(file))
        assert result.text == file.read_text() and not result.remarks


# --------------------------------------------------------------------- every line


def test_every_kind_of_line(tmp_path):
    old = (
        "# mine\n\n"
        "import compare_gan.gans.ssgan\n"
        "from gin.tf import external_configurables  # optimizers\n"
        "options.architecture  =  'resnet_' 'cifar_arch'  # net\n"
        "dataset.name = (\n"
        '    "lsun-bedroom"  # beds\n'
        ")\n"
        "  z.distribution_fn=@tf.random.normal\n"
        "eval_z.distribution_fn = \\\n"
        "    @tf.random.normal  # why\n"
        "gen/tf.train.AdamOptimizer.beta1 = 5e-1\n"
        "ModularGAN.g_optimizer_fn = @gen/tf.train.AdamOptimizer\n"
        "ModularGAN.tasks = [@tf.random.normal,  # one\n"
        "     @compare_gan.gans.loss_lib.hinge()]\n"
        "standardize_batch.epsilon = 1e-5  # not touched\n"
        "# end"
    )
    result = migrated(old, tmp_path)
    assert result.text == (
        "options.architecture = 'resnet_cifar'\n"
        "dataset.name = 'lsun_bedroom'\n"
        "z.distribution_fn = @normal\n"
        "gen/adam.beta1 = 0.5\n"
        "ModularGAN.g_optimizer_fn = @gen/adam\n"
        "ModularGAN.tasks = [@normal, @hinge()]\n"
        "standardize_batch.epsilon = 1e-05\n"
    )
    assert kinds(result) == [
        *("dropped", "dropped", "renamed", "renamed", "renamed", "dropped"),
        *("renamed", "renamed", "renamed"),
    ]
    path = tmp_path / "old.gin"
    places = [remark.place for remark in result.remarks[:5]]
    assert places == [f"{path}:{line}" for line in (3, 4, 5, 6, 9)]
    assert result.num_kept == 1
    assert result.counts.startswith("1 kept, 6 renamed, 0 inlined, 3 dropped, 0 not")
    assert str(result.remarks[2]) == (
        f"{path}:5: renamed: options.architecture = 'resnet_cifar_arch' -> "
        "options.architecture = 'resnet_cifar'"
    )
    # Windows ends lines in another way and marks the start of a file.
    windows = migrated("\ufeff" + old.replace("\n", "\r\n"), tmp_path)
    assert windows == result


def test_blocks_are_written_out(tmp_path):
    result = migrated(
        "options:\n  # size\n  batch_size = 8\n"
        "resnet_biggan.Discriminator:  # D\n"
        "  ch = 8  # narrow\n"
        "  # of labels\n"
        "  project_y = False\n"
        "  blocks_with_attention = ''\n"
        "G.width = 4\n"
        "options:\n  batch_size = 8\n  discriminator_normalization = None\n",
        tmp_path,
    )
    assert result.text == (
        "options.batch_size = 8\n"
        "D.width = 8\n"
        "D.attention = 'none'\n"
        "G.width = 4\n"
        "options.batch_size = 8\n"
    )


def test_macros_are_replaced_by_their_values(tmp_path):
    result = migrated(
        "arch = 'resnet_biggan_arch'\n"
        "data = 'imagenet_256'\n"
        "bound = 1.0\n"
        "lost = %bound\n"
        "noise = @tf.random.normal\n"
        "options.architecture = %arch\n"
        "dataset.name = %data\n"
        "z.distribution_fn = %noise\n"
        "eval_z.distribution_fn = @tf.random.normal\n"
        "z.maxval = %lost\n"
        "round = %around\n"
        "around = %round\n"
        "z.minval = %round\n"
        "z.stddev = %undefined\n"
        "size = 'imagenet_512'\n"
        "dataset.name = %size\n"
        "ModularGAN.tasks = [%noise]\n"
        "a/G.width = %a/size\n"
        "a/size = 3\n",
        tmp_path,
    )
    bindings = [line for line in result.text.splitlines() if line[:1] not in ("", "#")]
    assert bindings == [
        "options.architecture = 'resnet_biggan'",
        "dataset.name = 'imagenet256'",
        "z.distribution_fn = @normal",
        "ModularGAN.tasks = [@normal]",
        "a/G.width = 3",
    ]
    cycle, undefined, value = unmapped(result)
    assert "dataset.resolution = 512" in value
    assert "%round leads back to itself" in cycle
    assert "no line defines the macro %undefined" in undefined
    assert kinds(result).count("inlined") == 9


def test_included_files_are_written_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = gin_text(EXAMPLES["dcgan_celeba64"] | {"standardize_batch.decay": 0.5})
    (tmp_path / "base.gin").write_text(base)
    text = "include 'base.gin'\ntf.train.AdamOptimizer.epsilon = 1e-6\n"
    result = migrated(text, tmp_path)
    assert result.is_complete and kinds(result)[0] == "inlined"
    assert result.text.count("standardize_batch.decay = 0.5\n") == 1
    assert "keep_checkpoint_max = 1000" in result.text
    assert migration.check_runs(result.text, "new").startswith("celeb_a64, dcgan")

    (tmp_path / "base.gin").write_text(base + "dataset.seed = 1\nz.foo = 2\n")
    result = migrated(text, tmp_path)
    (remark,) = [remark for remark in result.remarks if remark.kind == "not mapped"]
    assert remark.place == "base.gin:20" and remark.text.startswith("z.foo = 2: ")

    (tmp_path / "base.gin").write_text("include 'old.gin'\n")
    (reason,) = unmapped(migration.migrate("old.gin"))
    assert "includes itself" in reason
    (reason,) = unmapped(migrated("include 'none.gin'\n", tmp_path))
    assert reason.startswith("include 'none.gin': ")


def test_a_file_of_ours_may_include_and_have_macros(tmp_path):
    text = "include 'quickstart.gin'\nsize = 4\nG.width = %size\n"
    result = migrated(text, tmp_path)
    assert result.text == text and not result.remarks


def test_modules_that_are_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "for_tf1.py").write_text("import tensorflow\ntensorflow.contrib\n")
    (tmp_path / "for_both.py").write_text(
        "import gin\n@gin.configurable\ndef migrated_loss(): pass\n"
        "from ssgan_tf import datasets\n"
        "datasets.DATASETS['migrated'] = datasets.DATASETS['digits32']\n"
    )
    try:
        result = migrated(
            "import for_tf1\nimport for_both\nimport for_nobody\n"
            "loss.fn = @migrated_loss\ndataset.name = 'migrated'\n",
            tmp_path,
        )
    finally:
        datasets.DATASETS.pop("migrated", None)
    first, second = unmapped(result)
    assert "contrib" in first and "TensorFlow 2" in first
    assert "No module named 'for_nobody'" in second and "PYTHONPATH" in second
    assert result.text.startswith(
        "import for_both\nloss.fn = @migrated_loss\ndataset.name = 'migrated'\n"
    )


# ------------------------------------------------------------- what is not mapped


@pytest.mark.parametrize("table", [differences.NOT_HERE, differences.WITHOUT_EFFECT])
def test_no_reason_is_given_for_what_is_here(table):
    assert not set(parser.parameter_names()) & set(table)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("options.architecture = 'infogan_arch'", "'sndcgan' is nearest"),
        ("options.architecture = 'mine_arch'", "Legal: dcgan, "),
        ("dataset.name = 'imagenet_512'", "dataset.resolution = 512"),
        ("dataset.name = 'imagenet'", "Legal: celeb_a128, "),
        ("dataset.name = 'soft_labeled_imagenet_128'", "dataset.label_file"),
        ("G.batch_norm_fn = @no_batch_norm", "Take @batch_norm"),
        ("G.batch_norm_fn = None", "Take @batch_norm"),
        ("D.batch_norm_fn = @batch_norm", "D.layer_norm"),
        ("SSGAN.self_supervision = None", "options.gan_class = @ModularGAN"),
        ("self_modulated_batch_norm.num_hidden = 0", "1 or more"),
        ("ModularGAN.g_optimizer_fn = @tf.train.RMSPropOptimizer", "Legal: @adam"),
        ("tf.train.RMSPropOptimizer.decay = 0.9", "RMSPropOptimizer"),
        ("ModularGAN.fit_label_distribution = True", "equal chances"),
        ("S3GAN.deprecated_split_disc_calls = True", "options.accumulate"),
        # In compare_gan it wins over a line of ModularGAN, if SSGAN is what is trained.
        ("SSGAN.g_lr = 0.0001", "bind ModularGAN.g_lr"),
        ("S3GAN.g_use_ema = True", "only where options.gan_class = @S3GAN"),
        ("SSGAN.experimental_force_graph_unroll = True", "as compare_gan's does"),
        ("S3GAN.project_y = True", "as ModularGAN.conditional"),
        ("S3GAN.use_soft_labels = True", "dataset.label_file"),
        ("resnet_biggan.Generator.embed_z = True", "embedded"),
        ("resnet5_biggan.Generator.embed_y_dim = 64", "128 numbers"),
        ("BigGanResNetBlock.sc_kernel_size = 3", "1x1"),
        ("BigGanDeepResNetBlock.scale = 'up'", "table"),
        ("replace_labels.file_pattern = 'a'", "dataset.label_file"),
        ("train_imagenet_transform.crop_method = 'random'", "folder:DIR"),
        ("eval_imagenet_transform.crop_method = 'none'", "central"),
        ("standardize_batch.use_cross_replica_mean = False", "all replicas"),
        ("cross_replica_moments.group_size = 8", "all replicas"),
        ("conditional_batch_norm.use_bias = True", "center_gain"),
        ("spectral_norm.epsilon = 1e-8", "1e-12"),
        ("eval_z.distribution_fn = @tf.random.normal", "z.distribution_fn"),
        ("eval_z.stddev = 0.5", "as training does"),
        ("z.maxval = 2.0", "here it is always 1.0"),
        ("z.distribution_fn = @tf.random.truncated_normal", "docs/extending.md"),
        ("run_config.single_core = True", "--strategy=one_device"),
        ("options.use_tpu = True", "--strategy=tpu"),
        ("options.lambda = 1", "options.lamba"),
        ("TpuSummaries.log_dir = 'a'", "save_summary_steps"),
    ],
)
def test_not_mapped(line, reason, tmp_path):
    # The lines of Windows.
    result = migrated(f"{line}\r\n", tmp_path)
    (text,) = unmapped(result)
    assert reason in text and text.startswith(line.partition(" = ")[0])
    assert not result.is_complete and not differing(result)
    assert all(row[:2] in ("", "# ") for row in result.text.splitlines())
    # The comment is the remark, wrapped.
    assert result.text.replace("\n# ", " ").split() == ["Not", "mapped:", *text.split()]


def test_what_changes_nothing_is_left_out(tmp_path):
    """As in compare_gan's operative configs, and by names with modules."""
    lines = (
        "dataset.seed = 547",
        "options.discriminator_normalization = None",
        "run_config.tf_random_seed = None",
        "run_config.single_core = False",
        "D.batch_norm_fn = None",
        "z.maxval = 1",
        "eval_z.minval = -1.0",
        "AdamOptimizer.use_locking = False",
        "cross_replica_moments.parallel = True",
        "tpu_ops.cross_replica_moments.group_size = None",
        "compare_gan.architectures.arch_ops.standardize_batch"
        ".use_cross_replica_mean = None",
        "standardize_batch.use_cross_replica_mean = True",
        "resnet_biggan.Generator.embed_y_dim = 128",
        "compare_gan.architectures.resnet_biggan.Generator.embed_z = False",
        "resnet_biggan_deep.Discriminator.blocks_with_attention = 'B1'",
        "ModularGAN.experimental_joint_gen_for_disc = False",
        "S3GAN.use_soft_labels = False",
        "train_imagenet_transform.crop_method = 'distorted'",
        "replace_labels.file_pattern = None",
    )
    result = migrated("\n".join(lines), tmp_path)
    assert result.text == "" and kinds(result) == len(lines) * ["dropped"]
    # `ssgan train` accepts these too, but for five without effect.
    for line in set(lines) - {lines[i] for i in (0, 1, 2, 8, 14)}:
        config.parse([], [line])


# --------------------------------------------------- what a file does not say


# compare_gan's own defaults, by our names where those are others.
THEIRS = {
    "options.lamba": 1,
    "options.disc_iters": 1,
    "options.z_dim": 128,
    "G.spectral_norm": False,
    "D.spectral_norm": False,
    "D.layer_norm": False,
    "weights.initializer": "normal",
    "weights.stddev": 0.02,
    "spectral_norm.singular_value": "left",
    "standardize_batch.decay": 0.999,
    "standardize_batch.epsilon": 0.001,
    "standardize_batch.use_moving_averages": True,
    "self_modulated_batch_norm.num_hidden": 32,
    "ModularGAN.conditional": False,
    "ModularGAN.g_lr": 0.0002,
    "ModularGAN.d_lr": None,
    "ModularGAN.d_optimizer_fn": None,
    "ModularGAN.g_use_ema": False,
    "ModularGAN.ema_decay": 0.9999,
    "ModularGAN.ema_start_step": 40000,
    "SSGAN.self_supervision": "rotation_gan",
    "SSGAN.weight_rotation_loss_d": 1.0,
    "SSGAN.weight_rotation_loss_g": 0.2,
    "S3GAN.self_supervision": "rotation",
    "S3GAN.weight_rotation_loss_d": 1.0,
    "S3GAN.weight_rotation_loss_g": 0.2,
    "S3GAN.use_predictor": False,
    "S3GAN.use_soft_pred": False,
    "S3GAN.weight_class_loss": 1.0,
    "adam.beta1": 0.9,
    "adam.beta2": 0.999,
    "adam.epsilon": 1e-8,
    "run_config.keep_checkpoint_max": 1000,
}


def test_defaults_are_added_where_they_differ():
    differ = {}
    for key, theirs in THEIRS.items():
        factory, name = key.split(".")
        ours = inspect.signature(gin.get_configurable(factory)).parameters[name].default
        if ours != theirs:
            differ[key] = theirs
    added = {k: ast.literal_eval(v) for k, (v, _) in differences.DEFAULTS.items()}
    assert added == differ


def test_defaults_stand_at_the_end(tmp_path):
    facts = without(SSGAN, "standardize_batch.decay", "standardize_batch.epsilon") | {
        "run_config.keep_checkpoint_max": 3
    }
    result = migrated(gin_text(facts).strip(), tmp_path)
    assert result.text.endswith(
        "run_config.keep_checkpoint_max = 3\n\n"
        "# compare_gan's defaults, which differ from ours.\n"
        "# Decay of the moving moments.\n"
        "standardize_batch.decay = 0.999\n"
        "# Added to the variance.\n"
        "standardize_batch.epsilon = 0.001\n"
    )
    # A part of an experiment is for use with another file.
    part = migrated("tf.train.AdamOptimizer.beta1 = 0.5\n", tmp_path)
    assert part.text == "adam.beta1 = 0.5\n" and not unmapped(part)


def test_a_file_of_ours_with_a_mistake_gets_no_defaults(tmp_path):
    text = config.find_config("ssgan_cifar10.gin").read_text()
    text = re.sub("standardize_batch.*\n", "", text) + "z.maxval = 2.0\n"
    result = migrated(text, tmp_path)
    assert kinds(result) == ["not mapped"] and not differing(result)
    assert "standardize_batch" not in result.text


@pytest.mark.parametrize(
    "changes, added",
    [
        ({}, True),
        ({"dataset.name": "imagenet_128"}, False),
        ({"resnet_biggan.Discriminator.blocks_with_attention": "B2"}, False),
        ({"options.architecture": "resnet_biggan_deep_arch"}, False),
    ],
)
def test_attention_of_large_images(changes, added, tmp_path):
    facts = EXAMPLES["biggan_imagenet128"] | {"dataset.name": "imagenet_256"}
    result = migrated(gin_text(facts | changes), tmp_path)
    assert result.text.endswith('D.attention = "B1"\n') == added


def test_a_generator_without_norms_is_not_here(tmp_path):
    facts = without(EXAMPLES["dcgan_celeba64"], "G.batch_norm_fn")
    (text,) = unmapped(migrated(gin_text(facts), tmp_path))
    assert "G.batch_norm_fn is not set" in text
    facts["G.batch_norm_fn"] = "@no_batch_norm"
    assert len(unmapped(migrated(gin_text(facts), tmp_path))) == 1


VARIANTS = ALL | {
    "conditional": SSGAN | {"ModularGAN.conditional": True},
    "normal": SSGAN | {"z.distribution_fn": "@tf.random.normal"},
    "unrotated": S3GAN | {"S3GAN.self_supervision": "none"},
    "plain gain": S3GAN | {"conditional_batch_norm.center_gain": False},
}
OF_IMAGENET = {"biggan_imagenet128", "s3gan", "unrotated", "plain gain"}


@pytest.mark.parametrize(
    "difference, names",
    [
        ("has a projection", {"conditional"}),
        ("rotated fakes carry", {"conditional"}),
        (
            "computed from logits",
            {"ssgan", "s3gan", "conditional", "normal", "plain gain"},
        ),
        ("scores draw z", {"normal"}),
        ("gain of conditional batch norm", OF_IMAGENET - {"plain gain"}),
        ("cut once, before training", OF_IMAGENET),
        (
            "counts updates of G",
            {*VARIANTS} - {"dcgan_celeba64", "sndcgan_celebahq128"},
        ),
        ("on TPUs it draws fresh ones", {*VARIANTS}),
    ],
)
def test_differences_are_named_where_they_are(difference, names, tmp_path):
    for name, facts in VARIANTS.items():
        text = differing(migrated(gin_text(facts), tmp_path))
        assert (difference in text) == (name in names), name


# ------------------------------------------------------------------- the command


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(networks.ARCHITECTURES))
def test_narrow_networks_of_every_architecture_can_be_built(architecture):
    """So that a failure is the file's own."""
    sizes = {"resnet_cifar": "cifar10", "resnet_stl": "stl10", "dcgan": "celeb_a64"}
    facts = EXAMPLES["resnet_cifar10"] | {
        "dataset.name": sizes.get(architecture, "imagenet128"),
        "options.architecture": architecture,
        "options.z_dim": 120,
    }
    assert architecture in migration.check_runs(gin_text(facts), "new")


def call(capsys, *args):
    """The command in this process: exit code, new file and report."""
    with flagsaver.flagsaver():
        argv = flags.FLAGS(["migrate", *map(str, args)])
        code = migrate.main(argv)
    return code, *capsys.readouterr()


# Networks that are built quickly.
QUICK = SSGAN | {"dataset.name": "celeb_a", "options.architecture": "dcgan_arch"}


def test_the_command(tmp_path, capsys):
    old, new = tmp_path / "old.gin", tmp_path / "new" / "mine.gin"
    old.write_text(gin_text(QUICK) + "# é", encoding="utf-8")
    code, out, report = call(capsys, old, f"--out={new}")
    assert code == 0 and not out
    assert f"{old}:11: renamed: ModularGAN.g_optimizer_fn = @tf.train." in report
    assert f"{new} runs: celeb_a64, dcgan, RotationTask, batch 64" in report
    text = new.read_text()

    # A line that is not mapped; standard output.
    old.write_text(gin_text(QUICK | {"z.maxval": 2.0}))
    code, out, report = call(capsys, old)
    assert code == 1 and "\n# Not mapped: z.maxval = 2.0: " in out
    assert "need a decision" in report and " runs: " in report
    assert new.read_text() == text

    # Our names, but a wrong value. An existing file is replaced.
    old.write_text(gin_text(QUICK | {"SSGAN.rotated_batch_size": 6}))
    code, out, report = call(capsys, old, f"--out={new}")
    assert code == 1 and "rotated_batch_size = 6" in new.read_text()
    assert "does not run yet: " in report and "multiple of 4" in report

    # Part of an experiment, and a file of ours that is no GAN.
    old.write_text("tf.train.AdamOptimizer.beta1 = 0.5\n")
    code, out, report = call(capsys, old)
    assert (code, out) == (1, "adam.beta1 = 0.5\n") and "must set" in report
    code, out, report = call(capsys, config.find_config("forgetting_cifar10.gin"))
    assert code == 0 and "runs: forgetting on cifar10" in report


def test_what_cannot_be_read_or_written(tmp_path, capsys):
    old = tmp_path / "old.gin"
    for content, reason in (
        (b"\xff\xfe\x00", "UTF-8"),
        (b"\0\0\0", "gin from end to end"),
        (b"options.batch_size = {[1]: 2}", "old.gin:1: "),
        (b"# fine\noptions.z_dim 3\n", "old.gin:2: "),
        (b"options.z_dim = (3,\n", "end to end"),
    ):
        old.write_bytes(content)
        with pytest.raises(config.ConfigError, match=reason) as caught:
            call(capsys, old, f"--out={tmp_path / 'new.gin'}")
        assert "\n" not in str(caught.value) and str(old) in str(caught.value)
    with pytest.raises(config.ConfigError, match="No such file"):
        call(capsys, tmp_path / "none.gin")
    with pytest.raises(config.ConfigError, match="directory"):
        call(capsys, tmp_path)
    old.write_text(gin_text(SSGAN))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Cannot write"):
        call(capsys, old, f"--out={tmp_path / 'folder'}")
    with pytest.raises(OSError, match="Cannot write"):
        call(capsys, old, f"--out={old / 'mine.gin'}")
    for args in ([], [old, old], [old, f"--out={tmp_path}/folder/../old.gin"]):
        with pytest.raises(app.UsageError):
            call(capsys, *args)
    assert {path.name for path in tmp_path.iterdir()} == {"old.gin", "folder"}
    assert old.read_text() == gin_text(SSGAN)


# ------------------------------------------------------------------------ the page


def section(title):
    """The text below a heading, up to the next one."""
    return re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)[1]


def rows(title):
    """The cells of the tables of a section, by the names and values in them."""
    lines = re.findall(r"^\| (`.*) \|$", section(title), re.M)
    assert lines
    return [
        [re.findall(r"`([^`]+)`", cell) for cell in line.split(" | ")] for line in lines
    ]


def parameters():
    return set(parser.parameter_names())


def test_the_same_name():
    names = re.findall(r"`([\w.@]+)`", section("The same name"))
    references = {name[1:] for name in names if name.startswith("@")}
    assert references <= set(parser.CONFIGURABLES)
    assert {name for name in names if name[0] != "@"} <= parameters()
    # As many as compare_gan has.
    assert len(names) == 58


def test_another_name():
    pairs = [
        [theirs[0], ours[0]] for theirs, ours, *rest in rows("Another name") if not rest
    ]
    assert len(pairs) > 10
    for theirs, ours in pairs:
        *_, (key, _) = map(parser.renamed, binding(f"{theirs}.x = 1"))
        *_, (whole, _) = map(parser.renamed, binding(f"{theirs} = 1"))
        assert ours in (whole, key.removesuffix(".x"))
        assert ours in parameters() | set(parser.CONFIGURABLES)
    # No name is left out but those of early versions and of subclasses.
    late = r"tf\.|run_config|GPU|resnet_\w+\.\w+\.(ch|blocks|hierarchical)"
    names = {name for name in compare_gan_names.ALIASES if re.match(late, name)}
    assert names <= {*dict(pairs)}


def binding(text):
    return [statement for statement, _ in parser.Parser().statements(text, "text")]


def test_another_value():
    pairs = {}
    for parameter, *values in (row for row in rows("Another name") if len(row) == 3):
        pairs.setdefault(*parameter, {}).update([[v for (v,) in values]])
    for parameter in ("dataset.name", "options.architecture"):
        assert pairs[parameter] == compare_gan_names.VALUE_ALIASES[parameter]
    assert set(pairs["dataset.name"].values()) <= set(datasets.DATASETS)
    assert set(pairs["options.architecture"].values()) <= set(networks.ARCHITECTURES)


def test_always_so(tmp_path):
    early = re.compile("resnet5_biggan|GPUModularGAN|^(SS|S3)GAN.*(deprec|experi|fit)")
    not_there = {"adam.use_locking", "BigGanResNetBlock.sc_kernel_size"}
    on_page = {key: value for (key,), (value,) in rows("Always so here")}
    late = {key for key in compare_gan_names.IMPLIED if not early.search(key)}
    assert on_page.keys() == late - not_there
    for key, value in on_page.items():
        implied = compare_gan_names.IMPLIED[key]
        if isinstance(implied, str):
            assert value == implied
            value = {"z.distribution_fn": "@tf.random.uniform"}.get(value, "False")
        else:
            assert ast.literal_eval(value) == implied[0]
        config.parse([], [f"{key} = {value}"])
        other = "@normal" if value[0] == "@" else repr(not ast.literal_eval(value))
        with pytest.raises(config.ConfigError, match="always"):
            config.parse([], [f"{key} = {other}"])
        assert kinds(migrated(f"{key} = {value}\n", tmp_path)) == ["dropped"]


def test_not_here():
    left_out = {name for row in rows("Not here")[:4] for name in row[0]}
    assert left_out == set(differences.WITHOUT_EFFECT) - {
        # No version of compare_gan has it.
        "resnet_biggan_deep.Generator.blocks_with_attention"
    }
    named = {f"'{name}'" for row in rows("Not here") for name in row[0]}
    for parameter in ("dataset.name", "options.architecture"):
        without_early = set(differences.NO_VALUES[parameter]) - {"'resnet5_ablation'"}
        assert without_early <= named


def test_defaults_of_the_page():
    for line in re.findall(r"^\| (`.*) \|$", section("Defaults"), re.M)[:-1]:
        name, theirs, ours = line.split(" | ")
        factory, name = name.strip("`").split(".")
        signature = inspect.signature(gin.get_configurable(factory))
        assert str(signature.parameters[name].default) == ours
        key = f"{factory}.{name}"
        if key in differences.DEFAULTS:
            assert differences.DEFAULTS[key][0] == theirs
    assert all(f"`{key}`" in section("Defaults") for key in differences.DEFAULTS)


def test_our_names_on_the_page_exist():
    """Those of the tables on mimicry, and of what differs."""
    text = PAGE.partition("## What differs in numbers")[2]
    text = re.sub(r"^\| [^|]* \|", "", text, flags=re.M)
    assigned = re.findall(r"`([\w]+\.[\w]+) = ", text)
    assert len(assigned) > 30
    assert set(assigned) <= parameters()
    references = set(re.findall(r"@(\w+)", text))
    assert references <= set(parser.CONFIGURABLES) and len(references) > 6


def mimicry_plan(*bindings):
    """The file on the page with other lines, and networks that are built quickly."""
    (text,) = re.findall(r"```gin\n(.*?)```", PAGE, re.S)
    narrow = "options.architecture = 'dcgan'", "G.width = 8", "D.width = 8"
    return plan_of(text, *bindings, *narrow)


def test_the_settings_of_mimicry():
    plan = mimicry_plan()
    options = plan.options
    assert (options.disc_iters, options.batch_size, options.z_dim) == (5, 64, 128)
    gan = plan.build_gan()
    (task,) = gan.tasks
    assert task.each_in_one and task.rotated_batch_size == 64
    assert gan.latents.distribution == "normal"
    # The rate falls with each network's own updates.
    assert gan.g_optimizer._learning_rate.decay_steps == 100000
    assert gan.d_optimizer._learning_rate.decay_steps == 500000


@pytest.mark.parametrize(
    "line", re.findall(r"^\| `mmc.nets.*\| (`.*`.*) \|$", PAGE, re.M)
)
def test_the_networks_of_mimicry(line):
    plan = mimicry_plan(*re.findall(r"`([\w.]+ = [^`]+)`", line))
    assert plan.build_gan().adversarial_loss is not None
