"""Runs that start from an exported module."""

import dataclasses
import json
import pathlib
import shutil
import tarfile

import gin
import keras
import numpy as np
import pytest
import tiny
from absl import flags
from absl.testing import flagsaver

from ssgan_tf import config
from ssgan_tf.commands import train
from ssgan_tf.evaluation import module_scorer
from ssgan_tf.modules import writing
from ssgan_tf.modules.metadata import METADATA, read_metadata, seal
from ssgan_tf.training import dry_run, loop, schedule, warm_start
from ssgan_tf.training.run_dir import RunDir
from ssgan_tf.utils import strategies
from ssgan_tf.utils.startup import StartUp

# The fewest variables; still with batch norms, spectral norms and a rotation head.
SMALL = ("options.architecture = 'dcgan'",)
SINGLE = (*SMALL, "ModularGAN.g_use_ema = False")
PLAIN = (*SMALL, "options.gan_class = @ModularGAN", "run_config.seed = 7")
CLASSES = (
    "ModularGAN.conditional = True",
    "G.batch_norm_fn = @conditional_batch_norm",
)
ROTATION = "score_classify"


@dataclasses.dataclass
class Source:
    """A module, and the weights of its networks at its export."""

    path: pathlib.Path
    generator: list[np.ndarray]
    discriminator: list[np.ndarray]


def values(network) -> list[np.ndarray]:
    return [np.array(v) for v in network.variables]


def scramble(gan, scale=1.0) -> None:
    """Assigns random numbers to all variables of the networks, also moments."""
    generator = np.random.default_rng(3)
    for network in (gan.generator, gan.discriminator, gan.average):
        for variable in network.variables if network else ():
            variable.assign(scale * generator.uniform(0.1, 0.6, variable.shape))


def export(gan, path) -> Source:
    scramble(gan)
    networks = gan.sampler, gan.discriminator, gan.latents
    writing.export(*networks, path, {"step": 3})
    return Source(path, values(gan.sampler), values(gan.discriminator))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A module without rotation head, whose G was an average."""
    path = tmp_path_factory.mktemp("modules") / "plain"
    gan = tiny.plan(*PLAIN).build_gan()
    assert gan.average is not None
    return export(gan, path)


@pytest.fixture(scope="module")
def rotating():
    """A GAN whose D has the rotation head, and a G without average."""
    gan = tiny.plan(*SINGLE).build_gan()
    scramble(gan)
    return gan


@pytest.fixture
def copy(plain, tmp_path):
    """The same for one test, to be damaged."""
    path = tmp_path / "copy"
    shutil.copytree(plain.path, path)
    return dataclasses.replace(plain, path=path)


@pytest.fixture
def log(caplog):
    """The fixture `caplog`, from INFO on."""
    caplog.set_level("INFO", "absl")
    return caplog


def build(module, *bindings, strategy=None):
    plan = tiny.plan(*SMALL, *bindings, f"run_config.warm_start = '{module}'")
    strategy = strategy or strategies.get_strategy("one_device")
    return loop.build(plan, strategy)


def held(gan) -> warm_start.ModuleWeights:
    """The weights of a module of this GAN."""

    def weights(network):
        paths = [v.path for v in network.variables]
        return tuple(map(warm_start.Weight, paths, values(network)))

    metadata = {
        "latents": dataclasses.asdict(gan.latents),
        "image_shape": [32, 32, 1],
        "num_classes": gan.num_classes,
        "weights_sha256": "0" * 64,
    }
    networks = weights(gan.sampler), weights(gan.discriminator)
    return warm_start.ModuleWeights("held", metadata, *networks)


def split_heads(gan) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """D's weights but for the rotation head, and those of that head."""
    trunk, head = [], []
    for v in gan.discriminator.variables:
        (head if v.path.split("/")[1] == ROTATION else trunk).append(np.array(v))
    return trunk, head


def assert_equal(ours, theirs) -> None:
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


class TestRead:
    def test_a_folder_and_an_archive(self, plain, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with tarfile.open(tmp_path / "module.tar.gz", "w:gz") as file:
            file.add(plain.path, ".")
        for path in (plain.path, tmp_path / "module.tar.gz"):
            weights = warm_start.read(path)
            for name in ("generator", "discriminator"):
                pairs = getattr(weights, name)
                assert_equal([weight.value for weight in pairs], getattr(plain, name))
                paths = weights.metadata["variables"][name]
                assert [weight.path for weight in pairs] == paths
        assert warm_start.read(plain.path).path == str(plain.path)

    def test_a_damaged_module(self, copy):
        (data,) = copy.path.glob("variables/variables.data*")
        data.write_bytes(data.read_bytes()[:-1] + b"?")
        with pytest.raises(ValueError, match=r"variables\.data"):
            warm_start.read(copy.path)

    def test_modules_of_another_kind(self, copy, tmp_path):
        file = copy.path / METADATA
        metadata = json.loads(file.read_text())
        del metadata["variables"]
        metadata["sha256"] = seal(metadata)
        file.write_text(json.dumps(metadata))
        with pytest.raises(ValueError, match="Export it again"):
            warm_start.read(copy.path)
        file.unlink()
        (tmp_path / "model.index").touch()
        for path in (copy.path, tmp_path / "model"):
            with pytest.raises(ValueError, match="ssgan convert --module="):
                warm_start.read(path)
        with pytest.raises(FileNotFoundError, match="module=.*nothing"):
            warm_start.read(tmp_path / "nothing")


class TestUnnumbered:
    def test_numbers_become_ranks_and_names_differ(self):
        paths = ["a_4/d_10/k", "a_4/d/k", "B1/k", "B2/k", "d_1/k_2", "d_1/k_2"]
        assert warm_start.unnumbered(paths) == [
            *("a#0/d#1/k#0", "a#0/d#0/k#0", "B1#0/k#0", "B2#0/k#0"),
            *("d#0/k#0", "d#0/k#0#1"),
        ]

    def test_a_network_that_is_built_again(self):
        def network():
            layers = [keras.layers.Dense(4) for _ in range(12)]
            nested = keras.Sequential([keras.layers.Dense(4)])
            return keras.Sequential([keras.Input((4,)), *layers, nested])

        first, second = network(), network()
        paths = [[v.path for v in net.variables] for net in (first, second)]
        assert set(paths[0]) != set(paths[1])
        names = [warm_start.unnumbered(of_network) for of_network in paths]
        assert names[0] == names[1] and len(set(names[0])) == 26
        weights = map(warm_start.Weight, paths[0], values(first))
        for variable, value in warm_start.fit(second.variables, [*weights]).pairs:
            variable.assign(value)
        assert_equal(values(second), values(first))


class TestStart:
    """From a plain GAN to SS-GAN with an average, and back."""

    def test_every_weight_but_the_new_head(self, plain, log, monkeypatch):
        compared = []
        monkeypatch.setattr(
            strategies.Workers, "check_same", lambda _, text: compared.append(text)
        )
        cold, gan = tiny.plan(*SMALL).build_gan(), build(plain.path)
        for network in (gan.generator, gan.average):
            assert_equal(values(network), plain.generator)
        (trunk, head), (cold_trunk, cold_head) = split_heads(gan), split_heads(cold)
        assert_equal(trunk, plain.discriminator)
        # The head starts from the seed.
        assert_equal(head, cold_head)
        assert not np.array_equal(trunk[0], cold_trunk[0])
        assert gan.step == 0
        for optimizer in (gan.g_optimizer, gan.d_optimizer):
            slots = [v for v in optimizer.variables if v.name != "learning_rate"]
            assert len(slots) > 10 and not any(np.any(np.array(v)) for v in slots)
        digest = read_metadata(plain.path)["weights_sha256"]
        (line,) = [line for line in log.messages if line.startswith("starting from")]
        assert f"{plain.path}, weights {digest}; " in line
        assert line.endswith(f"fresh: {ROTATION}; that are left out: none")
        # Workers compare the modules that they read.
        (text,) = compared
        assert str(plain.path) in text and digest in text

    def test_an_old_head_is_left_out(self, rotating, log):
        gan = tiny.plan(*PLAIN).build_gan()
        warm_start.start(gan, held(rotating))
        assert_equal(values(gan.generator), values(rotating.generator))
        assert_equal(values(gan.discriminator), split_heads(rotating)[0])
        assert log.messages[-1].endswith(f"fresh: none; that are left out: {ROTATION}")

    def test_a_head_of_another_shape_starts_fresh_as_a_whole(self, rotating, log):
        # Seven ways: kernel and bias have other shapes, the vector u has not.
        weights = held(rotating)
        others = [
            (
                w._replace(value=np.zeros((*w.value.shape[:-1], 7), np.float32))
                if ROTATION in w.path and "/u" not in w.path
                else w
            )
            for w in weights.discriminator
        ]
        gan = tiny.plan(*SINGLE).build_gan()
        before = split_heads(gan)[1]
        assert len(before) == 3
        warm_start.start(gan, dataclasses.replace(weights, discriminator=tuple(others)))
        assert_equal(split_heads(gan)[1], before)
        assert_equal(split_heads(gan)[0], split_heads(rotating)[0])
        assert log.messages[-1].endswith(f"{ROTATION}; that are left out: {ROTATION}")

    def test_the_heads_are_those_of_our_discriminators(self):
        plan = tiny.plan(
            "options.gan_class = @S3GAN",
            "S3GAN.use_predictor = True",
            "S3GAN.rotated_batch_fraction = 2",
            *CLASSES,
            *SINGLE,
        )
        d = plan.build_gan().discriminator
        heads = {head.name for head in (d.rotation_head, d.class_head, d.embedding)}
        assert set(warm_start.HEADS) == heads

    def test_two_replicas(self, plain, two_replicas):
        gan = build(plain.path, strategy=two_replicas)
        expected = {
            "generator": plain.generator,
            "average": plain.generator,
            "discriminator": plain.discriminator,
        }
        for name, theirs in expected.items():
            for replica in range(2):
                ours = [
                    two_replicas.experimental_local_results(v.value)[replica].numpy()
                    for v in getattr(gan, name).variables
                    if ROTATION not in v.path
                ]
                assert_equal(ours, theirs)

    def test_another_distribution_of_z_is_a_warning(self, rotating, log):
        gan = tiny.plan(*SINGLE, "z.distribution_fn = @normal").build_gan()
        warm_start.start(gan, held(rotating))
        assert_equal(values(gan.discriminator), values(rotating.discriminator))
        assert "fresh: none; that are left out: none" in log.messages[-2]
        assert log.messages[-1] == (
            "held has distribution of z uniform instead of normal"
        )


class TestMisfits:
    def refuse(self, weights, *bindings) -> str:
        gan = tiny.plan(*SINGLE, *bindings).build_gan()
        before = values(gan.generator) + values(gan.discriminator)
        with pytest.raises(ValueError) as caught:
            warm_start.start(gan, weights)
        assert_equal(values(gan.generator) + values(gan.discriminator), before)
        return str(caught.value)

    def test_other_sizes_are_named(self, rotating):
        weights = held(rotating)
        weights.metadata["image_shape"] = [64, 64, 3]
        message = self.refuse(weights, "options.z_dim = 9", "D.width = 8")
        assert "\n  z_dim 8 instead of 9\n" in message
        assert "\n  image_shape (64, 64, 3) instead of (32, 32, 1)\n" in message
        kernel = weights.generator[0]
        size = kernel.value.shape[1]
        named = f"{kernel.path} (8, {size}) instead of (9, {size})"
        assert f"\n  G, 1 of another shape: {named}\n" in message
        assert "\n  D, " in message
        assert "missing" not in message and "unknown" not in message

    def test_other_classes_are_named(self, rotating):
        message = self.refuse(held(rotating), *CLASSES)
        assert "\n  num_classes 0 instead of 10\n" in message
        # Gains and offsets by class, and the plain ones of the module.
        assert "missing in the module: generator/g_bn1/gamma/kernel, " in message
        assert "unknown to this run: generator/g_bn1/gamma, " in message
        # The projection is a head.
        assert "\n  D, " not in message

    def test_the_true_fake_head_must_be_there(self, rotating):
        weights = held(rotating)
        *_, head = (
            w.path.split("/")[1]
            for w in weights.discriminator
            if ROTATION not in w.path
        )
        rest = tuple(w for w in weights.discriminator if head not in w.path)
        message = self.refuse(dataclasses.replace(weights, discriminator=rest))
        assert f"\n  D, 3 missing in the module: discriminator/{head}/" in message
        assert "\n  G, " not in message


class TestRun:
    def run(self, plan, path, name="train", data_dir=None):
        # A score that needs no feature network.
        scoring = module_scorer.ScoringOptions(metrics=("swd",), num_runs=1)
        schedule.train_and_evaluate(
            plan,
            RunDir(path),
            schedule.Settings(schedule=name, scoring=scoring, data_dir=data_dir),
            start_up=StartUp(),
            get_strategy=lambda: strategies.get_strategy("one_device"),
        )

    def test_it_continues_and_is_scored_without_the_module(self, copy, tmp_path):
        bindings = (
            *SMALL,
            "options.training_steps = 1",
            "run_config.save_checkpoints_steps = 1",
            f"run_config.warm_start = '{copy.path}'",
        )
        plan, run = tiny.plan(*bindings), RunDir(tmp_path / "run")
        self.run(plan, run.path)
        assert run.checkpoints.steps() == [0, 1]
        gan = plan.build_gan()
        run.checkpoints.restore(0, gan.parts)
        assert_equal(values(gan.average), copy.generator)
        assert_equal(split_heads(gan)[0], copy.discriminator)

        shutil.rmtree(copy.path)
        self.run(plan, run.path)
        # A new run needs the module; an evaluation beside it does not.
        other = RunDir(tmp_path / "other")
        with pytest.raises(FileNotFoundError, match="module=.*copy"):
            self.run(plan, other.path)
        assert not other.path.exists()
        other.path.mkdir()
        other.train_done.touch()
        self.run(plan, other.path, "continuous_eval")
        # The operative config names the module, for runs that continue or score.
        config.parse([str(run.latest_config())])
        assert config.plan() == plan

    def test_a_misfit_is_an_error_before_the_data_are_read(self, plain, tmp_path):
        plan = tiny.plan(
            *SMALL, "G.width = 8", f"run_config.warm_start = '{plain.path}'"
        )
        data_dir = str(tmp_path / "data")
        with pytest.raises(ValueError, match=f"Received: warm_start={plain.path}"):
            self.run(plan, tmp_path / "run", "eval_after_train", data_dir)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(ValueError, match=f"Received: warm_start={plain.path}"):
            dry_run.dry_run(plan, strategies.get_strategy("one_device"))


class TestFlag:
    def test_it_is_a_binding(self):
        with flagsaver.flagsaver():
            flags.FLAGS(["train", *tiny.flags(*SMALL), "--warm_start=a'b", "--dry_run"])
            with pytest.raises(FileNotFoundError, match="a'b"):
                train.main(["train"])
        for text in (config.bindings(), config.operative_config()):
            assert '\nrun_config.warm_start = "a\'b"\n' in text

    def test_both(self):
        tiny.plan("run_config.warm_start = 'a'")
        assert config.plan("a").run.warm_start == "a"
        assert config.plan().run.warm_start == "a"
        with pytest.raises(config.ConfigError, match="--warm_start=b, .* 'a'|='a'"):
            config.plan("b")
        assert gin.query_parameter("run_config.warm_start") == "a"
        assert tiny.plan().run.warm_start is None

    @pytest.mark.parametrize("value", ["''", "3", "['a']", "True"])
    def test_other_values(self, value):
        with pytest.raises(config.ConfigError, match="`run_config.warm_start` must be"):
            tiny.plan(f"run_config.warm_start = {value}")
