"""Two replicas with half the batch each against one device with the whole batch."""

import numpy as np
import pytest
import tensorflow as tf
from objectives import (
    BATCH,
    FEW_LABELS,
    LATENT_DIM,
    MINIMAX,
    MODULATED,
    PLAIN,
    SHARE,
    assert_same_logs,
    build,
    elements,
    on_one_device,
    on_two_replicas,
    variables,
)

from ssgan_tf import datasets
from ssgan_tf.draws import Share


def objectives(*cases):
    ids = ["plain", "few labels", "minimax"][: len(cases)]
    return pytest.mark.parametrize(("objective", "d_steps"), cases, ids=ids)


class TestTwoReplicasEqualOneDevice:
    @objectives((PLAIN, 1), (FEW_LABELS, 1), (MINIMAX, 1))
    def test_losses_and_gradients(self, two_replicas, objective, d_steps):
        options = dict(adam=False, d_steps=d_steps, steps_per_execution=1)
        single, expected_logs, before = on_one_device(objective, 1, 1, **options)
        shared, logs = on_two_replicas(two_replicas, objective, 1, 1, **options)
        assert_same_logs(logs, expected_logs)
        pairs = (
            (shared.generator, single.generator, before[0]),
            (shared.discriminator, single.discriminator, before[1]),
        )
        for ours, theirs, starts in pairs:
            for mine, other, start in zip(
                ours.variables, theirs.variables, starts, strict=True
            ):
                change, expected = np.array(mine) - start, np.array(other) - start
                scale = max(np.abs(expected).max(), 1e-2)
                np.testing.assert_allclose(
                    change, expected, atol=1e-4 * scale, err_msg=mine.path
                )

    @objectives((MODULATED, 2), (FEW_LABELS, 1))
    def test_several_steps(self, two_replicas, objective, d_steps):
        options = dict(adam=True, d_steps=d_steps, steps_per_execution=2)
        single, expected_logs, _ = on_one_device(objective, 4, 2, **options)
        shared, logs = on_two_replicas(two_replicas, objective, 4, 2, **options)
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
def test_the_noise_is_dealt_out_in_turn(two_replicas, d_step):
    def draw(gan, strategy, num):
        gan.g_optimizer.iterations.assign(5)
        draws = strategy.run(lambda: gan._draw_latents(num, d_step, Share.of_replica()))
        rows = np.stack(strategy.experimental_local_results(draws), axis=1)
        return rows.reshape(-1, LATENT_DIM)

    options = dict(adam=False, d_steps=2, steps_per_execution=1)
    whole = draw(build(PLAIN, **options), tf.distribute.get_strategy(), BATCH)
    with two_replicas.scope():
        gan = build(PLAIN, **options)
    assert whole.shape == (BATCH, LATENT_DIM)
    np.testing.assert_array_equal(draw(gan, two_replicas, SHARE), whole)


@pytest.mark.slow
def test_fit(two_replicas):
    options = dict(adam=True, d_steps=2, steps_per_execution=2)
    _, expected_logs, _ = on_one_device(PLAIN, 4, 2, **options)
    with two_replicas.scope():
        gan = build(PLAIN, **options)
    data = two_replicas.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensor_slices(elements(4, 2))
    )
    history = gan.fit(data, epochs=2, steps_per_epoch=2, verbose=0).history
    logs = [{name: history[name][epoch] for name in history} for epoch in (0, 1)]
    assert_same_logs(logs, expected_logs)


def test_the_pipeline_and_the_step_do_not_know_the_number_of_replicas(two_replicas):
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
