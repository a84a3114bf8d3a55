"""The class task against its equation in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from oracles import finite_differences, halves
from scipy import special

from ssgan_tf.tasks import ClassTask, DiscriminatorOutputs

BATCH, CLASSES, WEIGHT = 8, 5, 0.6
STEP = tf.constant(0, tf.int64)
LABELS = {
    "some": [2, 0, 0, -1, -1, 4, -1, -1],
    "one": [-1, -1, -1, 3, -1, -1, -1, -1],
    "all": [2, 1, 0, 3, 4, 4, 1, 0],
    # The most likely class of every labelled image but one.
    "right": [-1, -1, 2, 4, 1, 4, 3, 4],
    "none": [-1] * BATCH,
}
every_share = pytest.mark.parametrize("share", LABELS)


def random_logits():
    return 2 * np.random.default_rng(0).normal(size=(BATCH, CLASSES))


def formula(logits, labels):
    """E_{labelled}[-log P(label | x)], 0 without labels."""
    rows = [row for row, label in enumerate(labels) if label >= 0]
    if not rows:
        return 0.0
    log_p = special.log_softmax(logits, axis=1)
    return -np.mean([log_p[row, labels[row]] for row in rows])


def run(logits, labels):
    """The loss, its gradient by the logits, and the logs."""
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        outputs = DiscriminatorOutputs({"class_logits": logits}, None, labels)
        loss, logs = ClassTask(CLASSES, WEIGHT).d_loss(outputs, None, STEP)
    return loss, tape.gradient(loss, logits), logs


@every_share
def test_loss_and_gradient(share):
    labels, logits = np.int32(LABELS[share]), random_logits()
    loss, gradient, logs = run(tf.constant(logits, tf.float32), tf.constant(labels))
    assert set(logs) == set(ClassTask.d_log_names)
    expected = formula(logits, labels)
    np.testing.assert_allclose(loss, WEIGHT * expected, rtol=1e-6)
    np.testing.assert_allclose(logs["loss/class_real"], expected, rtol=1e-6)
    expected = finite_differences(lambda x: WEIGHT * formula(x, labels), logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    # Exactly zero without a label.
    np.testing.assert_array_equal(gradient.numpy()[labels < 0], 0.0)
    known = labels >= 0
    hits = logits.argmax(axis=1)[known] == labels[known]
    expected = hits.mean() if known.any() else 0.0
    np.testing.assert_allclose(logs["accuracy/class_real"], expected)


def test_an_unconditional_gan_has_no_labels():
    with pytest.raises(ValueError, match="labels=None"):
        run(tf.constant(random_logits(), tf.float32), None)


def test_acts_on_d_only():
    assert not ClassTask(CLASSES).acts_on_g
    assert [ClassTask(CLASSES, w).acts_on_d for w in (0, 0.5)] == [False, True]


@every_share
def test_replicas_with_unequal_counts_equal_one_device(two_replicas, share):
    labels, logits = np.int32(LABELS[share]), random_logits().astype("float32")
    expected_loss, expected_gradient, expected_logs = run(
        tf.constant(logits), tf.constant(labels)
    )

    @tf.function
    def step(logits, labels):
        return two_replicas.run(run, args=(logits, labels))

    loss, gradient, logs = step(
        halves(two_replicas, logits), halves(two_replicas, labels)
    )
    # The train step divides by the number of replicas, and the optimizers sum.
    mean = two_replicas.reduce("MEAN", loss, axis=None)
    np.testing.assert_allclose(mean, expected_loss, rtol=1e-6)
    local = two_replicas.experimental_local_results(gradient)
    assert [len(piece) for piece in local] == [4, 4]
    gradient = np.concatenate(local) / 2
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)
    for name, value in expected_logs.items():
        mean = two_replicas.reduce("MEAN", logs[name], axis=None)
        np.testing.assert_allclose(mean, value, rtol=1e-6)
