"""The training stream."""

import collections
import dataclasses
import functools
import time

import numpy as np
import pytest
import sources
import tensorflow as tf
import tensorflow_datasets as tfds

from ssgan_tf import datasets


@functools.cache
def _order(num_images, seed, epoch, rollbacks=0, flip=False):
    return datasets.epoch_order(
        num_images, seed=seed, epoch=epoch, rollbacks=rollbacks, flip=flip
    ).numpy()


def _flips(num_images, *key):
    """1 in the place of each image that is mirrored."""
    flips, order = np.divmod(_order(num_images, *key, flip=True), num_images)
    np.testing.assert_array_equal(order, _order(num_images, *key))
    return flips


# --- epoch_order ----------------------------------------------------------------


@pytest.mark.parametrize("num_images", [1, 2, 3, 37, 1400])
def test_epoch_order_is_a_permutation(num_images):
    order = _order(num_images, seed=3, epoch=4)
    np.testing.assert_array_equal(np.sort(order), np.arange(num_images))


# Seed, epoch and rollbacks.
_KEYS = [
    *((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (-1, 0, 0), (2**31, 0, 0)),
    *((2**40, 0, 0), (0, 2**40, 0), (2**63 - 1, 0, 0)),
    *((0, 0, 1), (0, 0, 2), (2**63 - 1, 0, 1)),
]


@pytest.mark.parametrize("draw", [_order, _flips])
def test_orders_and_flips_depend_on_every_bit_of_their_key(draw):
    assert len({tuple(draw(64, *key)) for key in _KEYS}) == len(_KEYS)


def test_orders_and_flips_have_not_changed():
    # Otherwise a run that is resumed under another TensorFlow would see other images.
    np.testing.assert_array_equal(_order(8, 0, 0), [7, 3, 5, 6, 4, 0, 1, 2])
    np.testing.assert_array_equal(_order(8, 7, 3), [2, 5, 6, 3, 7, 0, 4, 1])
    np.testing.assert_array_equal(_flips(12, 7, 3), [0] * 9 + [1, 0, 1])


def test_every_order_is_equally_likely():
    counts = collections.Counter(tuple(_order(3, 5, epoch)) for epoch in range(300))
    assert len(counts) == 6
    # Chi-squared with 5 degrees of freedom: 25.7 is exceeded once in 10,000 times.
    assert sum((count - 50) ** 2 / 50 for count in counts.values()) < 25.7


@pytest.mark.parametrize("num_images", [20, 1400, 50_000])
def test_orders_are_neither_the_stored_one_nor_each_other(num_images):
    # A correlation of random orders is normal with deviation 1 / sqrt(N - 1).
    places = np.arange(num_images)
    orders = [_order(num_images, seed=0, epoch=epoch) for epoch in range(20)]
    for order, following in zip(orders, orders[1:], strict=False):
        for other in (places, following):
            r = np.corrcoef(order, other)[0, 1]
            assert abs(r) * np.sqrt(num_images - 1) < 4.5


def test_half_of_the_images_are_flipped():
    flips = np.stack([_flips(1000, 3, epoch) for epoch in range(20)])
    assert set(flips.ravel()) == {0, 1}
    # Six deviations, of all and of each place.
    assert abs(flips.mean() - 0.5) < 6 * 0.5 / np.sqrt(flips.size)
    assert np.abs(flips.mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(20)
    correlations = np.corrcoef(flips) - np.eye(20)
    assert np.abs(correlations).max() < 6 / np.sqrt(1000)


# --- training_dataset -----------------------------------------------------------


def _numbered(num_images):
    """Images and labels that encode their own number."""
    labels = np.arange(num_images, dtype=np.int32)
    images = np.zeros((num_images, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = labels % 256
    images[:, 1, 0, 2] = labels // 256
    images[:, 0, 1, 1] = 17
    return images, labels


# N, batch, d_steps: batches that fill an epoch, span two epochs, are larger than N.
# Replicas, pipelines, this one; first step: far beyond 2 ** 32 samples the last time.
@pytest.mark.parametrize("sizes", [(24, 8, 1), (23, 8, 2), (7, 16, 3)])
@pytest.mark.parametrize(
    ("context", "start_step"),
    [
        ((1, 1, 0), 0),
        ((2, 1, 0), 0),
        ((4, 1, 0), 5),
        ((4, 2, 1), 5),
        ((1, 1, 0), 2**40),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_stream_follows_its_definition(sizes, context, start_step, flip):
    (num_images, batch_size, d_steps), (replicas, pipelines, pipeline) = sizes, context
    images, labels = _numbered(num_images)
    local = replicas // pipelines
    stream = datasets.training_dataset(
        images,
        labels,
        batch_size=batch_size,
        seed=11,
        d_steps=d_steps,
        start_step=start_step,
        rollbacks=1,
        flip=flip,
        input_context=tf.distribute.InputContext(pipelines, pipeline, replicas),
    )
    share = d_steps * batch_size // replicas
    assert stream.element_spec == (
        tf.TensorSpec((share, 2, 2, 3), tf.uint8),
        tf.TensorSpec((share,), tf.int32),
    )
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
    elements = stream.take(6 * local).as_numpy_iterator()
    for step in range(start_step, start_step + 6):
        for replica in range(pipeline * local, (pipeline + 1) * local):
            expected, numbers = [], []
            for j in range(d_steps):
                first = (step * d_steps + j) * batch_size
                for sample in range(first + replica, first + batch_size, replicas):
                    epoch, place = divmod(sample, num_images)
                    number = _order(num_images, 11, epoch, 1)[place]
                    mirrored = flip and _flips(num_images, 11, epoch, 1)[place]
                    image = images[number]
                    expected.append(image[:, ::-1] if mirrored else image)
                    numbers.append(number)
            pixels, own_labels = next(elements)
            np.testing.assert_array_equal(pixels, expected)
            np.testing.assert_array_equal(own_labels, numbers)


_IMAGES, _LABELS = _numbered(4)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"d_steps": 0}, "d_steps=0"),
        ({"start_step": -1}, "start_step=-1"),
        ({"images": _IMAGES.astype(np.float32)}, "images of float32"),
        ({"images": _IMAGES[..., 0]}, r"shape \(4, 2, 2\)"),
        ({"images": _IMAGES[:0], "labels": _LABELS[:0]}, r"\(0, 2, 2, 3\)"),
        ({"labels": _LABELS.astype(np.int64)}, "labels of int64"),
        ({"labels": _LABELS[:3]}, r"labels of int32 and .*\(3,\)"),
        # The nearest batches are named.
        ({"batch_size": 10, "replicas": 4}, "batch_size=10, num_replicas=4.*8 or 12"),
        ({"batch_size": 3, "replicas": 4}, "batch_size=3, num_replicas=4.*Choose 4"),
        ({"batch_size": 6, "replicas": 3, "pipelines": 2}, "num_replicas=3 of 2"),
    ],
)
def test_wrong_arguments(wrong, match):
    kwargs = {"images": _IMAGES, "labels": _LABELS, "batch_size": 4, "seed": 0} | wrong
    replicas, pipelines = kwargs.pop("replicas", 1), kwargs.pop("pipelines", 1)
    context = tf.distribute.InputContext(pipelines, 0, replicas)
    with pytest.raises(ValueError, match=match):
        datasets.training_dataset(**kwargs, input_context=context)


# --- Images decoded once, or in their files -------------------------------------


def _assert_same_elements(elements, expected):
    for element, expected_element in zip(elements, expected, strict=True):
        for one, other in zip(element, expected_element, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "replicas, pipelines, pipeline", [(1, 1, 0), (4, 1, 0), (4, 2, 1)]
)
def test_both_paths_give_the_same_stream(
    both_paths, replicas, pipelines, pipeline, flip
):
    decoded, stored, labels = both_paths
    labels = datasets.keep_labels(labels, 0.3, seed=1)
    kwargs = dict(
        d_steps=2,
        start_step=5,
        flip=flip,
        input_context=tf.distribute.InputContext(pipelines, pipeline, replicas),
    )
    # Four steps, in which an epoch of photos ends.
    steps = 4 * replicas // pipelines
    expected = sources.elements(decoded, labels, steps, **kwargs)
    _assert_same_elements(sources.elements(stored, labels, steps, **kwargs), expected)


def test_images_that_are_slow_to_decode_keep_their_place(both_paths):
    decoded, stored, labels = both_paths
    decoding = []

    def wait(length):
        decoding.append(1)
        # Some images of each batch come late.
        time.sleep(0.01 if length % 3 == 0 else 0.0)
        decoding.append(-1)
        return np.int64(0)

    class SlowImage(tfds.features.Image):
        def decode_example(self, example):
            done = tf.numpy_function(wait, [tf.strings.length(example)], tf.int64)
            with tf.control_dependencies([done]):
                return super().decode_example(tf.identity(example))

    feature = SlowImage(shape=stored.feature.shape)
    stored = dataclasses.replace(stored, feature=feature)
    expected = sources.elements(decoded, labels, 12)
    _assert_same_elements(sources.elements(stored, labels, 12), expected)
    # Several images were decoded at a time. None was kept, and few were decoded ahead.
    assert np.cumsum(decoding).max() > 1
    assert 12 * 8 <= decoding.count(1) < 600


def test_each_replica_gets_its_share_on_its_device(both_paths, two_replicas):
    decoded, stored, labels = both_paths
    kwargs = dict(batch_size=8, d_steps=2, seed=5, start_step=3)
    for images in (decoded, stored):
        single = iter(datasets.training_dataset(images, labels, **kwargs))
        mirrored = iter(
            two_replicas.distribute_datasets_from_function(
                lambda context, images=images: datasets.training_dataset(
                    images, labels, input_context=context, **kwargs
                )
            )
        )
        for _ in range(3):
            for whole, parts in zip(next(single), next(mirrored), strict=True):
                shares = two_replicas.experimental_local_results(parts)
                assert [share.device[-5:] for share in shares] == ["CPU:0", "CPU:1"]
                by_step = [np.split(share.numpy(), 2) for share in shares]
                dealt = np.stack(by_step, axis=2).reshape(whole.shape)
                np.testing.assert_array_equal(dealt, whole)
