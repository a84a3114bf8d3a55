"""Modules of a run's checkpoints."""

import threading
import types

import exports
import keras
import numpy as np
import oracles
import pytest

from ssgan_tf import config, losses
from ssgan_tf.evaluation import protocols, score_table
from ssgan_tf.latents import Latents
from ssgan_tf.modules import reading, writing
from ssgan_tf.modules.metadata import check_files, read_metadata
from ssgan_tf.randomness import SAMPLING_STREAM
from ssgan_tf.training import checkpoint_export, run_dir


class TestCheckpoint:
    @pytest.fixture(autouse=True)
    def no_config(self, monkeypatch):
        monkeypatch.setattr(config, "operative_config", lambda: "")

    def build_gan(self, precision="float32", average=True):
        gan = exports.random_gan()
        gan.average = gan.average if average else None
        optimizers = {f"{side}_optimizer": keras.optimizers.SGD(0.1) for side in "gd"}
        gan.compile(**optimizers, adversarial_loss=losses.Hinge())
        return gan

    @pytest.fixture
    def trained(self):
        gan = self.build_gan()
        for seed, net in enumerate((gan.average, gan.generator)):
            oracles.randomize(net, 20 + seed)
        gan.g_optimizer.iterations.assign(5)
        return gan

    @pytest.fixture
    def run(self, trained, tmp_path):
        run = run_dir.RunDir(tmp_path / "run")
        run.checkpoints.save(trained.step, trained.parts)
        return run

    def plan(self, standing_examples=0, build_gan=None):
        return types.SimpleNamespace(
            build_gan=build_gan or self.build_gan,
            dataset="digits32",
            standing_examples=standing_examples,
            run=types.SimpleNamespace(seed=4),
        )

    @pytest.mark.parametrize(
        "examples, weights", [(0, None), (100, None), (100, "raw")]
    )
    def test_which_weights_and_moments(self, trained, run, tmp_path, examples, weights):
        files = {path: path.read_bytes() for path in run.checkpoints.folder.iterdir()}
        path = tmp_path / "module"
        plan = self.plan(examples)
        checkpoint_export.export_checkpoint(plan, run, 5, path, weights=weights)
        facts = read_metadata(path)
        batch_norm = "standing moments of 128 samples" if examples else "moving moments"
        assert facts["batch_norm"] == batch_norm
        assert facts["weights"] == weights or "ema"
        assert facts["step"] == 5 and facts["scores"] == []
        for file, content in files.items():
            assert file.read_bytes() == content
        # Training would continue with the saved weights.
        again = self.build_gan()
        run.checkpoints.restore(5, again.parts)
        for net in ("average", "generator", "discriminator"):
            ours, theirs = (oracles.values(getattr(g, net)) for g in (again, trained))
            for our, their in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(our, their)
        generator = trained.generator if weights == "raw" else trained.average
        moving = samples_of(generator)
        writing.use_standing_moments(generator, trained.latents, examples, 4)
        np.testing.assert_allclose(
            reading.load(path).sample(8), samples_of(generator), atol=1e-5
        )
        if examples:
            assert np.abs(samples_of(generator) - moving).max() > 0.01

    def test_its_scores(self, trained, run, tmp_path):
        table = score_table.ScoreTable(run.path / "scores.csv")
        weights = writing.hash_weights(trained.average, trained.discriminator)
        for step, value, protocol, digest in (
            (5, 1.5, "a=1", weights),
            (5, 2.5, "a=2", weights),
            (5, 3.5, "a=3", "other"),
            (4, 4.5, "a=1", weights),
        ):
            table.add(
                score_table.ModuleScores({"fid": [value, 7.0]}, {}),
                step=step,
                checkpoint="ckpt",
                weights_sha256=digest,
                protocol=protocol,
                config="",
                metrics=("fid",),
            )
        path = tmp_path / "m"
        options = {"weights": "ema", "fine_tunable": True, "table": table}
        checkpoint_export.export_checkpoint(self.plan(), run, 5, path, **options)
        facts = check_files(path)
        assert facts["weights"] == "ema" and facts["fine_tunable"] is True
        assert facts["weights_sha256"] == weights
        scores = [(score["protocol"], score["values"]) for score in facts["scores"]]
        assert scores == [("a=1", {"fid": [1.5, 7.0]}), ("a=2", {"fid": [2.5, 7.0]})]
        for score in facts["scores"]:
            assert score["versions"] == protocols.versions()
        card = (path / "README.md").read_text()
        assert "| `fid` | 4.25 | 2.8 | 2 |" in card and "a=3" not in card

    def test_the_module_of_the_run_itself(self, run, monkeypatch):
        plan, module = self.plan(), run.module(5)
        for options in ({"weights": "raw"}, {"weights": "ema"}, {"fine_tunable": True}):
            with pytest.raises(ValueError, match="Received: "):
                checkpoint_export.export_checkpoint(plan, run, 5, **options)
        assert not module.exists()
        table = score_table.ScoreTable(run.path / "scores.csv")
        assert checkpoint_export.export_checkpoint(plan, run, 5, table=table) == module
        facts = read_metadata(module)
        # Later scores do not write the module again.
        digest = facts["weights_sha256"]
        table.add(
            score_table.ModuleScores({"fid": [1.0]}, {}),
            step=5,
            checkpoint="ckpt",
            weights_sha256=digest,
            protocol="a=1",
            config="",
            metrics=("fid",),
        )
        monkeypatch.setattr(writing, "export", pytest.fail)
        checkpoint_export.export_checkpoint(plan, run, 5, table=table)
        assert read_metadata(module) == facts

    def test_two_exports_of_a_run_take_turns(self, run, caplog):
        caplog.set_level("INFO", "absl")
        second_is_here = threading.Event()

        def watch(record):
            if "waiting for another process" in record.getMessage():
                second_is_here.set()
            return True

        caplog.handler.addFilter(watch)
        builds = []

        def build_gan(precision):
            builds.append(threading.current_thread())
            if len(builds) > 1:
                second_is_here.set()
            else:
                second.start()
                assert second_is_here.wait(60)
            return self.build_gan(precision)

        arguments = (self.plan(build_gan=build_gan), run, 5)
        second = threading.Thread(
            target=checkpoint_export.export_checkpoint, args=arguments
        )
        checkpoint_export.export_checkpoint(*arguments)
        second.join(60)
        assert not second.is_alive()
        # The second finds the module of the first.
        assert builds == [threading.current_thread()]
        check_files(run.module(5))

    def test_an_average_that_was_not_kept(self, run, tmp_path):
        plan = self.plan(build_gan=lambda precision: self.build_gan(average=False))
        with pytest.raises(ValueError, match="Received: weights=ema and .*/run"):
            checkpoint_export.export_checkpoint(
                plan, run, 5, tmp_path / "m", weights="ema"
            )
        assert not (tmp_path / "m").exists()


def samples_of(generator) -> np.ndarray:
    latents = Latents(exports.LATENT_DIM).sample(8, [0, SAMPLING_STREAM])
    return generator(latents, training=False).numpy()
