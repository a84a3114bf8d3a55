"""Replicas share the rows of a batch and give the results of one device."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from exports import CLASSES
from paths import ROOT

from ssgan_tf.evaluation import dataset_classifier
from ssgan_tf.modules import reading
from ssgan_tf.utils.processes import cluster_environments
from ssgan_tf.utils.replicas import on_all_replicas

# One of two workers. Their caches hold different classifiers: the chief's must be used.
WORKER = """
import os, sys
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
sys.path[:0] = ["tests", "tests/modules"]
import module_on_replicas_test

assert strategy.num_replicas_in_sync == 2
module, folder = sys.argv[1:]
outputs = module_on_replicas_test.results(module, folder, strategy)
np.savez(os.path.join(folder, "outputs.npz"), **outputs)
"""


@pytest.fixture(scope="module")
def path(conditional_module):
    return conditional_module.path


def strategies(two_replicas):
    return tf.distribute.OneDeviceStrategy("CPU:1"), two_replicas


def rows(num):
    return np.random.default_rng(num).normal(size=(num, 3)).astype(np.float32)


class TestOnAllReplicas:
    """The helper by itself."""

    @pytest.mark.parametrize(
        ("num", "shares"), [(1, [1, 0]), (2, [1, 1]), (5, [3, 2]), (6, [3, 3])]
    )
    def test_every_replica_has_its_rows_in_order(self, two_replicas, num, shares):
        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def function(inputs):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return {"twice": (2 * inputs,), "by": tf.fill([len(inputs)], replica)}

        outputs = on_all_replicas(function, two_replicas)(rows(num))
        np.testing.assert_array_equal(outputs["twice"][0], 2 * rows(num))
        np.testing.assert_array_equal(outputs["by"], np.repeat([0, 1], shares))

    def test_arguments_by_position_and_by_name(self, two_replicas):
        @tf.function
        def function(first, *, second, third):
            return first - second["a"], third[0]

        for strategy in strategies(two_replicas):
            difference, third = on_all_replicas(function, strategy)(
                tf.constant(rows(5)),
                second={"a": 2 * rows(5)},
                third=(np.arange(5),),
            )
            assert isinstance(difference, np.ndarray)
            np.testing.assert_array_equal(difference, -rows(5))
            np.testing.assert_array_equal(third, np.arange(5))

    def test_traced_once_for_each_shape(self, two_replicas):
        traces = []

        # A plain function, which leaves a trace at every call.
        def function(inputs):
            traces.append(inputs.shape)
            return inputs

        call = on_all_replicas(function, two_replicas)
        for num in (7, 8, 3, 7, 4, 8, 3):
            call(rows(num))
        # Once per replica.
        assert traces == [(4, 3)] * 2 + [(2, 3)] * 2

    def test_one_replica_gets_the_batch_itself(self):
        batch, inputs_of_calls = rows(2), []

        def function(inputs):
            inputs_of_calls.append(inputs)
            return inputs

        for strategy in (tf.distribute.get_strategy(), *strategies(None)[:1]):
            assert on_all_replicas(function, strategy)(batch) is batch
        assert [inputs is batch for inputs in inputs_of_calls] == [True, True]

    @pytest.mark.parametrize("nums", [(2, 3), (0, 0), ()])
    def test_rows_must_belong_together(self, two_replicas, nums):
        for strategy in strategies(two_replicas):
            call = on_all_replicas(tf.function(lambda *inputs: inputs), strategy)
            with pytest.raises(ValueError, match="number of rows") as caught:
                call(*map(rows, nums))
            assert str([(num, 3) for num in nums]) in str(caught.value)


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert type(actual[name]) is np.ndarray, name
        assert actual[name].dtype == value.dtype == np.float32, name
        np.testing.assert_allclose(actual[name], value, atol=1e-5, err_msg=name)


class TestModule:
    """A module on two replicas."""

    def test_equals_that_on_one_device(self, two_replicas, path):
        one, two = reading.load(path), reading.load(path, two_replicas)
        for num in (1, 7):
            images, labels = one.sample(num, seed=3), np.arange(num) % CLASSES
            # Convolutions of other batch sizes may add in another order.
            np.testing.assert_allclose(two.sample(num, seed=3), images, atol=1e-6)
            assert_same(
                two.discriminate(images, labels), one.discriminate(images, labels)
            )
        # A call makes a batch on each replica.
        batches = [*two.sample_batches(7, seed=3, batch_size=2)]
        assert [len(batch) for batch in batches] == [4, 3]
        np.testing.assert_allclose(np.concatenate(batches), images, atol=1e-6)

    def test_each_replica_uses_weights_of_its_own(self, two_replicas, path):
        module = reading.load(path, two_replicas)
        images, labels = module.sample(5), [0, 1, 2, 0, 1]
        outputs = module.discriminate(images, labels)
        networks = (module.generator.load(), module.discriminator.load())
        for variable in [v for network in networks for v in network.variables]:
            copies = two_replicas.experimental_local_results(variable)
            assert len(copies) == 2
            copies[1].assign_add(tf.ones_like(copies[1]))
        changed = np.abs(module.sample(5) - images).max(axis=(1, 2, 3)) > 1e-3
        np.testing.assert_array_equal(changed, [False] * 3 + [True] * 2)
        after = module.discriminate(images, labels)
        changed = np.abs(after["features"] - outputs["features"]).max(axis=1) > 1e-3
        np.testing.assert_array_equal(changed, [False] * 3 + [True] * 2)


def results(path, folder, strategy=None) -> dict[str, np.ndarray]:
    """Samples, outputs of D, and features and logits of a classifier."""
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    data = images, np.arange(9) % CLASSES
    extractor = dataset_classifier.dataset_classifier(
        "x", data, data, num_classes=CLASSES, cache_dir=str(folder), strategy=strategy
    )
    module = reading.load(path, strategy)
    outputs = {}
    for num in (1, 7):
        samples = outputs[f"images {num}"] = module.sample(num, seed=2)
        for name, value in module.discriminate(samples, -1).items():
            outputs[f"{name} {num}"] = value
        features, logits = extractor.extract(images[:num])
        outputs |= {f"classifier's features {num}": features}
        outputs |= {f"classifier's logits {num}": logits}
    return outputs


def copy_cache(source, target) -> None:
    """Copies the cache of a classifier, with other weights."""
    (file,) = source.glob("*.npz")
    weights = np.load(file)
    np.savez(target / file.name, *(weights[name] + 1 for name in weights.files))


@pytest.mark.slow
def test_two_workers_both_get_everything(path, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_classifier, "train_classifier", lambda *args: None)
    folders = [tmp_path / str(index) for index in range(2)]
    for folder in folders:
        folder.mkdir()
    expected = results(path, folders[0])
    copy_cache(*folders)
    workers = []
    try:
        for folder, environment in zip(folders, cluster_environments(2), strict=True):
            with (folder / "log").open("w") as log:
                command = [sys.executable, "-c", WORKER, str(path), str(folder)]
                workers.append(
                    subprocess.Popen(
                        command,
                        cwd=ROOT,
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        for worker, folder in zip(workers, folders, strict=True):
            assert worker.wait(timeout=240) == 0, (folder / "log").read_text()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    first, second = (dict(np.load(folder / "outputs.npz")) for folder in folders)
    assert_same(first, expected)
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
