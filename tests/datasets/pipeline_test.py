"""The training stream."""

import collections
import dataclasses
import functools
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from optional import PREPARED_DATA, needs_cifar10
from paths import ROOT

from ssgan_tf import datasets

# --- epoch_order ----------------------------------------------------------------


@functools.cache
def _order(num_images, seed, epoch, rollbacks=0):
    return datasets.epoch_order(
        num_images, seed=seed, epoch=epoch, rollbacks=rollbacks
    ).numpy()


def test_epoch_order_is_a_permutation():
    for num_images in (1, 2, 3, 37, 1400):
        order = _order(num_images, seed=3, epoch=4)
        np.testing.assert_array_equal(np.sort(order), np.arange(num_images))


def test_epoch_order_depends_on_every_bit_of_its_key():
    keys = [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (-1, 0),
        (2**31, 0),
        (2**40, 0),
        (0, 2**40),
        (2**63 - 1, 0),
        (0, 0, 1),
        (0, 0, 2),
        (2**63 - 1, 0, 1),
    ]
    orders = {tuple(_order(50, *key)) for key in keys}
    assert len(orders) == len(keys)


def test_epoch_order_has_not_changed():
    # Otherwise a run that is resumed under another TensorFlow would see other images.
    np.testing.assert_array_equal(_order(8, seed=0, epoch=0), [7, 3, 5, 6, 4, 0, 1, 2])
    np.testing.assert_array_equal(_order(8, seed=7, epoch=3), [2, 5, 6, 3, 7, 0, 4, 1])


def test_every_order_is_equally_likely():
    counts = collections.Counter(tuple(_order(3, 5, epoch)) for epoch in range(600))
    assert len(counts) == 6
    # Chi-squared with 5 degrees of freedom: 25.7 is exceeded once in 10,000 times.
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 25.7


@pytest.mark.parametrize("num_images", [20, 1400, 50_000])
def test_orders_are_neither_the_stored_one_nor_each_other(num_images):
    # A correlation of random orders is normal with deviation 1 / sqrt(N - 1).
    places = np.arange(num_images)
    orders = [_order(num_images, seed=0, epoch=epoch) for epoch in range(20)]
    for order, following in zip(orders, orders[1:], strict=False):
        for other in (places, following):
            r = np.corrcoef(order, other)[0, 1]
            assert abs(r) * np.sqrt(num_images - 1) < 4.5


# --- epoch_flips ----------------------------------------------------------------


def _flips(num_images, seed, epoch, rollbacks=0):
    return datasets.epoch_flips(
        num_images, seed=seed, epoch=epoch, rollbacks=rollbacks
    ).numpy()


def test_half_of_the_images_are_flipped():
    flips = np.stack([_flips(1000, seed=3, epoch=epoch) for epoch in range(20)])
    assert set(flips.ravel()) == {0, 1}
    # Six deviations, of all and of each place.
    assert abs(flips.mean() - 0.5) < 6 * 0.5 / np.sqrt(flips.size)
    assert np.abs(flips.mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(20)
    correlations = np.corrcoef(flips) - np.eye(20)
    assert np.abs(correlations).max() < 6 / np.sqrt(1000)


def test_flips_depend_on_every_part_of_their_key_and_on_nothing_else():
    keys = [(0, 0), (0, 1), (1, 0), (2**40, 0), (0, 2**40), (0, 0, 1), (0, 0, 2)]
    assert len({tuple(_flips(64, *key)) for key in keys}) == len(keys)
    # Otherwise a run that is resumed under another TensorFlow would see other images.
    np.testing.assert_array_equal(
        _flips(12, seed=7, epoch=3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    )


# --- training_dataset -----------------------------------------------------------


def _numbered(num_images):
    """Images and labels that encode their own number."""
    labels = np.arange(num_images, dtype=np.int32)
    images = np.zeros((num_images, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = labels % 256
    images[:, 1, 0, 2] = labels // 256
    images[:, 0, 1, 1] = 17
    return images, labels


def _stream(num_images, steps, *, replicas=1, pipelines=1, pipeline=0, **kwargs):
    """Image numbers `(steps * local replicas, d_steps * b)`, checked for pairing."""
    images, labels = _numbered(num_images)
    context = tf.distribute.InputContext(pipelines, pipeline, replicas)
    dataset = datasets.training_dataset(
        images, labels, input_context=context, **{"seed": 11, **kwargs}
    )
    numbers = []
    for element, label in dataset.take(steps * replicas // pipelines):
        np.testing.assert_array_equal(element, images[label])
        numbers.append(label.numpy())
    return np.stack(numbers)


# N, batch, d_steps: batches that fill an epoch, span two epochs, are larger than N.
_CASES = [(24, 8, 1), (23, 8, 2), (7, 16, 3)]


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
@pytest.mark.parametrize("replicas, start_step", [(1, 0), (2, 0), (4, 5)])
def test_stream_follows_its_definition(
    num_images, batch_size, d_steps, replicas, start_step
):
    expected = []
    for step in range(start_step, start_step + 6):
        for replica in range(replicas):
            element = []
            for j in range(d_steps):
                first = (step * d_steps + j) * batch_size
                for sample in range(first + replica, first + batch_size, replicas):
                    epoch, place = divmod(sample, num_images)
                    element.append(_order(num_images, 11, epoch)[place])
            expected.append(element)
    samples = _stream(
        num_images,
        6,
        batch_size=batch_size,
        d_steps=d_steps,
        start_step=start_step,
        replicas=replicas,
    )
    np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
@pytest.mark.parametrize("replicas, start_step", [(1, 0), (2, 0), (4, 5)])
def test_flips_follow_their_definition(
    num_images, batch_size, d_steps, replicas, start_step
):
    images, labels = _numbered(num_images)
    stream = datasets.training_dataset(
        images,
        labels,
        batch_size=batch_size,
        seed=11,
        d_steps=d_steps,
        start_step=start_step,
        flip=True,
        input_context=tf.distribute.InputContext(1, 0, replicas),
    )
    elements = stream.take(6 * replicas).as_numpy_iterator()
    for step in range(start_step, start_step + 6):
        for replica in range(replicas):
            expected, numbers = [], []
            for j in range(d_steps):
                first = (step * d_steps + j) * batch_size
                for sample in range(first + replica, first + batch_size, replicas):
                    epoch, place = divmod(sample, num_images)
                    number = _order(num_images, 11, epoch)[place]
                    mirrored = _flips(num_images, 11, epoch)[place]
                    image = images[number]
                    expected.append(image[:, ::-1] if mirrored else image)
                    numbers.append(number)
            share, share_labels = next(elements)
            np.testing.assert_array_equal(share, expected)
            np.testing.assert_array_equal(share_labels, numbers)


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
def test_each_epoch_visits_each_image_once(num_images, batch_size, d_steps):
    steps = 4 * num_images // batch_size + 1
    samples = _stream(num_images, steps, batch_size=batch_size, d_steps=d_steps).ravel()
    epochs = len(samples) // num_images
    assert epochs >= 4
    orders = samples[: epochs * num_images].reshape(epochs, num_images)
    np.testing.assert_array_equal(
        np.sort(orders, axis=1), np.tile(np.arange(num_images), (epochs, 1))
    )
    if num_images > 20:
        assert len({tuple(order) for order in orders}) == epochs


@pytest.mark.parametrize("num_images, batch_size, d_steps", _CASES)
def test_starting_late_equals_skipping(num_images, batch_size, d_steps):
    replicas = 2
    kwargs = dict(batch_size=batch_size, d_steps=d_steps, replicas=replicas)
    whole = _stream(num_images, 12, **kwargs)
    for start_step in (1, 7):
        late = _stream(num_images, 12 - start_step, start_step=start_step, **kwargs)
        np.testing.assert_array_equal(late, whole[start_step * replicas :])


@pytest.mark.parametrize("replicas, pipelines", [(2, 1), (4, 1), (2, 2), (4, 2)])
def test_replicas_share_out_the_batches_of_one(replicas, pipelines):
    kwargs = dict(batch_size=8, d_steps=2, start_step=2)
    whole = _stream(23, 9, **kwargs).reshape(9, 2, 8)
    shares = [
        _stream(
            23, 9, replicas=replicas, pipelines=pipelines, pipeline=pipeline, **kwargs
        ).reshape(9, replicas // pipelines, 2, 8 // replicas)
        for pipeline in range(pipelines)
    ]
    # (step, replica, d step, row) -> (step, d step, row, replica)
    together = np.concatenate(shares, axis=1).transpose(0, 2, 3, 1).reshape(9, 2, 8)
    np.testing.assert_array_equal(together, whole)


def test_seeds_give_different_streams_and_one_seed_the_same():
    streams = [
        _stream(300, 20, batch_size=8, seed=seed).tobytes() for seed in (0, 1, 2, 0)
    ]
    assert streams[0] == streams[3]
    assert len(set(streams)) == 3


def test_second_iteration_repeats_the_first():
    dataset = datasets.training_dataset(*_numbered(23), batch_size=8, seed=0)
    first, second = (
        [labels.numpy().tolist() for _, labels in dataset.take(7)] for _ in range(2)
    )
    assert first == second


def test_shapes_are_static_and_the_stream_is_infinite():
    dataset = datasets.training_dataset(
        *_numbered(23),
        batch_size=8,
        d_steps=3,
        seed=0,
        input_context=tf.distribute.InputContext(1, 0, 2),
    )
    assert dataset.element_spec == (
        tf.TensorSpec((12, 2, 2, 3), tf.uint8),
        tf.TensorSpec((12,), tf.int32),
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_far_starts_are_reached_at_once():
    # Far beyond 2 ** 32 samples, which only arithmetic can reach.
    step = 2**40
    (numbers,) = _stream(23, 1, batch_size=8, start_step=step)
    samples = [divmod(step * 8 + i, 23) for i in range(8)]
    expected = [_order(23, 11, epoch)[place] for epoch, place in samples]
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize(
    "kwargs, match",
    [
        (
            {"batch_size": 0},
            "batch_size=0",
        ),
        ({"d_steps": 0}, "d_steps=0"),
        ({"start_step": -1}, "start_step=-1"),
    ],
)
def test_counts_out_of_range_are_refused(kwargs, match):
    with pytest.raises(ValueError, match=match):
        datasets.training_dataset(
            *_numbered(4), **{"batch_size": 4, "seed": 0, **kwargs}
        )


def test_indivisible_batch_is_refused_with_the_nearest_choices():
    with pytest.raises(
        ValueError,
        match="batch_size=10, num_replicas=4.*8 or 12",
    ):
        _stream(23, 1, batch_size=10, replicas=4)
    with pytest.raises(ValueError, match="batch_size=3, num_replicas=4.*Choose 4"):
        _stream(23, 1, batch_size=3, replicas=4)


def test_pipelines_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="num_replicas=3, num_input_pipelines=2"):
        _stream(23, 1, batch_size=6, replicas=3, pipelines=2)


def test_tensors_of_the_wrong_kind_are_refused():
    images, labels = _numbered(4)
    for bad_images, bad_labels, match in (
        (images.astype(np.float32), labels, "images of float32"),
        (images[..., 0], labels, r"images of uint8 and shape \(4, 2, 2\)"),
        (images[:0], labels[:0], r"N > 0\. Received: .*\(0, 2, 2, 3\)"),
        (images, labels.astype(np.int64), "labels of int64"),
        (images, labels[:3], r"shape \(4,\).*Received: labels of int32 and .*\(3,\)"),
    ):
        with pytest.raises(ValueError, match=match):
            datasets.training_dataset(bad_images, bad_labels, batch_size=2, seed=0)


_MIRRORED = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)
from ssgan_tf import datasets

labels = np.arange(23, dtype=np.int32)
images = np.broadcast_to(labels[:, None, None, None], (23, 2, 2, 1)).astype(np.uint8)
kwargs = dict(batch_size=8, d_steps=2, seed=5, start_step=3)
single = iter(datasets.training_dataset(images, labels, **kwargs))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
mirrored = iter(
    strategy.distribute_datasets_from_function(
        lambda context: datasets.training_dataset(
            images, labels, input_context=context, **kwargs
        )
    )
)
for _ in range(10):
    whole = next(single)[1].numpy().reshape(2, 8)
    shares = strategy.experimental_local_results(next(mirrored)[1])
    shares = [share.numpy().reshape(2, 4) for share in shares]
    dealt = np.stack(shares, axis=2).reshape(2, 8)
    np.testing.assert_array_equal(dealt, whole)
print("equal")
"""


@pytest.mark.slow
def test_mirrored_strategy_sees_the_batches_of_one_device():
    # Logical devices must be set up before TensorFlow starts: in a process of its own.
    done = subprocess.run(
        [sys.executable, "-c", _MIRRORED], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1:] == ["equal"]


# --- Images decoded once, or in their files -------------------------------------


def _elements(images, labels, steps, **kwargs):
    dataset = datasets.training_dataset(images, labels, batch_size=8, seed=4, **kwargs)
    return list(dataset.take(steps).as_numpy_iterator())


def _assert_same_elements(elements, expected):
    for element, expected_element in zip(elements, expected, strict=True):
        for one, other in zip(element, expected_element, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "replicas, pipelines, pipeline",
    [(1, 1, 0), (2, 1, 0), (4, 1, 0), (4, 2, 0), (4, 2, 1)],
)
def test_both_paths_give_the_same_stream(both_paths, replicas, pipelines, pipeline):
    decoded, stored, labels = both_paths
    labels = datasets.keep_labels(labels, 0.3, seed=1)
    kwargs = dict(
        d_steps=2,
        start_step=5,
        input_context=tf.distribute.InputContext(pipelines, pipeline, replicas),
    )
    # Four steps, in which an epoch of photos ends.
    steps = 4 * replicas // pipelines
    expected = _elements(decoded, labels, steps, **kwargs)
    _assert_same_elements(_elements(stored, labels, steps, **kwargs), expected)


def test_both_paths_flip_the_same(both_paths):
    decoded, stored, labels = both_paths
    expected = _elements(decoded, labels, 4, flip=True)
    _assert_same_elements(_elements(stored, labels, 4, flip=True), expected)
    assert any(
        (flipped != plain).any()
        for (flipped, _), (plain, _) in zip(expected, _elements(decoded, labels, 4))
    )


def test_stored_images_resume_at_any_step(both_paths):
    _, stored, labels = both_paths
    context = tf.distribute.InputContext(1, 0, 2)
    whole = _elements(stored, labels, 2 * 9, input_context=context)
    for step in (1, 5, 8):
        late = _elements(
            stored, labels, 2 * (9 - step), start_step=step, input_context=context
        )
        _assert_same_elements(late, whole[2 * step :])


def test_stored_images_have_static_shapes_and_no_end(both_paths):
    decoded, stored, labels = both_paths
    kwargs = dict(batch_size=8, d_steps=3, seed=0)
    context = tf.distribute.InputContext(1, 0, 2)
    dataset = datasets.training_dataset(stored, labels, input_context=context, **kwargs)
    assert dataset.element_spec == (
        tf.TensorSpec((12, *decoded.shape[1:]), tf.uint8),
        tf.TensorSpec((12,), tf.int32),
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


def test_images_that_are_slow_to_decode_keep_their_place(both_paths):
    decoded, stored, labels = both_paths
    decoding = []

    def wait(length):
        decoding.append(1)
        # Some images of each batch come late.
        time.sleep(0.02 if length % 3 == 0 else 0.0)
        decoding.append(-1)
        return np.int64(0)

    class SlowImage(tfds.features.Image):
        def decode_example(self, example):
            done = tf.numpy_function(wait, [tf.strings.length(example)], tf.int64)
            with tf.control_dependencies([done]):
                return super().decode_example(tf.identity(example))

    feature = SlowImage(shape=stored.feature.shape)
    stored = dataclasses.replace(stored, feature=feature)
    expected = _elements(decoded, labels, 12)
    for _ in range(2):
        _assert_same_elements(_elements(stored, labels, 12), expected)
    # Several images were decoded at a time.
    assert np.cumsum(decoding).max() > 1


def test_each_share_waits_on_the_device_of_its_replica(both_paths, two_replicas):
    decoded, stored, labels = both_paths
    for images in (decoded, stored):
        iterator = iter(
            two_replicas.distribute_datasets_from_function(
                lambda context, images=images: datasets.training_dataset(
                    images, labels, batch_size=8, seed=0, input_context=context
                )
            )
        )
        for element in next(iterator):
            shares = two_replicas.experimental_local_results(element)
            assert [share.device[-5:] for share in shares] == ["CPU:0", "CPU:1"]


@needs_cifar10
@pytest.mark.parametrize("resumed_at", [0, 778, 781])
def test_cifar10_copy_is_streamed_in_one_order(resumed_at):
    images, labels = datasets.index_split("cifar10", "train", PREPARED_DATA)
    stream = datasets.training_dataset(
        images, labels, batch_size=64, seed=3, start_step=resumed_at
    )
    # An epoch is 781 batches and 16 images.
    orders = np.concatenate([_order(50_000, 3, epoch) for epoch in range(2)])
    for step, (batch, batch_labels) in enumerate(stream.take(5), resumed_at):
        expected = orders[64 * step : 64 * (step + 1)]
        np.testing.assert_array_equal(batch_labels, labels[expected])
        first = images.look_up(tf.constant(expected[0]))
        np.testing.assert_array_equal(batch[0], first)
