"""Replicas and workers that share a batch against one device with the whole batch."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from objectives import (
    BATCH,
    FEW_LABELS,
    FOUR,
    LATENT_DIM,
    MINIMAX,
    ONE_STEP,
    PLAIN,
    SHARE,
    assert_same_logs,
    build,
    changes,
    on_one_device,
    on_replicas,
    variables,
)
from paths import TESTS

from ssgan_tf import datasets
from ssgan_tf.gan import Step
from ssgan_tf.randomness import Share
from ssgan_tf.utils.processes import cluster_environments


def assert_same_changes(ours, expected):
    for (path, change), other in zip(ours.items(), expected.values(), strict=True):
        scale = max(np.abs(other).max(), 1e-2)
        np.testing.assert_allclose(change, other, atol=1e-4 * scale, err_msg=path)


class TestReplicasEqualOneDevice:
    @pytest.mark.slow
    def test_losses_and_gradients_of_four(self, four_replicas):
        single, expected_logs, before = on_one_device(FOUR, 1, 1, **ONE_STEP)
        shared, logs = on_replicas(four_replicas, FOUR, 1, 1, **ONE_STEP)
        assert_same_logs(logs, expected_logs)
        assert_same_changes(changes(shared, before), changes(single, before))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("objective", "d_steps"),
        [(MINIMAX, 2), (FEW_LABELS, 1)],
        ids=["minimax", "few labels"],
    )
    def test_several_steps(self, two_replicas, objective, d_steps):
        options = dict(adam=True, d_steps=d_steps, steps_per_execution=2)
        single, expected_logs, _ = on_one_device(objective, 4, 2, **options)
        shared, logs = on_replicas(two_replicas, objective, 4, 2, **options)
        assert_same_logs(logs, expected_logs)
        assert shared.step == single.step == 4
        for mine, other in zip(variables(shared), variables(single), strict=True):
            copies = two_replicas.experimental_local_results(mine.value)
            assert len(copies) == 2
            np.testing.assert_array_equal(copies[0], copies[1], err_msg=mine.path)
            np.testing.assert_allclose(
                copies[0], np.array(other), rtol=1e-4, atol=1e-5, err_msg=mine.path
            )


@pytest.mark.parametrize("d_step", [0, 1])
def test_the_noise_is_dealt_to_the_replicas_in_turn(two_replicas, d_step):
    def draw(gan, strategy, num):
        gan.g_optimizer.iterations.assign(5)
        draws = strategy.run(lambda: Step(gan, Share.of_replica()).latents(num, d_step))
        rows = np.stack(strategy.experimental_local_results(draws), axis=1)
        return rows.reshape(-1, LATENT_DIM)

    options = dict(adam=False, d_steps=2, steps_per_execution=1)
    whole = draw(build(PLAIN, **options), tf.distribute.get_strategy(), BATCH)
    with two_replicas.scope():
        gan = build(PLAIN, **options)
    assert whole.shape == (BATCH, LATENT_DIM)
    np.testing.assert_array_equal(draw(gan, two_replicas, SHARE), whole)


def test_logs_do_not_depend_on_the_number_of_replicas(two_replicas):
    images = np.random.default_rng(1).integers(0, 256, (23, 8, 8, 3), np.uint8)

    def stream(context):
        return datasets.training_dataset(
            images,
            np.zeros(23, np.int32),
            batch_size=BATCH,
            d_steps=2,
            seed=5,
            start_step=3,
            input_context=context,
        )

    def run(strategy):
        with strategy.scope():
            gan = build(PLAIN, adam=False, d_steps=2, steps_per_execution=1)
        gan.make_train_function()
        iterator = iter(strategy.distribute_datasets_from_function(stream))
        return [gan.train_function(iterator) for _ in range(2)]

    assert_same_logs(run(two_replicas), run(tf.distribute.OneDeviceStrategy("CPU:0")))


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """The changes and logs of one step in two processes with half a batch each."""
    folder = tmp_path_factory.mktemp("workers")
    script = TESTS / "worker.py"
    environments = cluster_environments(2)
    with contextlib.ExitStack() as stack:
        processes = []
        for index, environment in enumerate(environments):
            log = stack.enter_context((folder / f"{index}.txt").open("w"))
            command = [sys.executable, str(script), str(folder / f"{index}.npz")]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.kill)
            processes.append(process)
        for index, process in enumerate(processes):
            code = process.wait(timeout=300)
            assert code == 0, (folder / f"{index}.txt").read_text()
    return [dict(np.load(folder / f"{index}.npz")) for index in range(2)]


class TestTwoWorkers:
    def test_they_agree(self, workers):
        for worker in workers:
            sums, from_chief, (count, replicas), refused = worker["agreed"].tolist()
            assert (sums, from_chief) == ([3, 20], [7, 8])
            assert count == replicas == 2 and refused == [-1, -1]

    def test_losses_and_gradients_equal_one_device(self, workers):
        single, expected_logs, before = on_one_device(FOUR, 1, 1, **ONE_STEP)
        expected = changes(single, before)
        for worker in workers:
            del worker["agreed"]
            logs = {
                name.removeprefix("logs "): float(worker.pop(name))
                for name in list(worker)
                if name.startswith("logs ")
            }
            assert_same_logs([logs], expected_logs)
            assert_same_changes(worker, expected)
        for name, value in workers[0].items():
            np.testing.assert_array_equal(value, workers[1][name], err_msg=name)
