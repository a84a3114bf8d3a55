"""Accuracy of the rotation head."""

import numpy as np
import pytest
import tensorflow as tf

from ssgan_tf.evaluation import rotation_head


class TestRotationAccuracy:
    """Images with a bright top left corner, and oracles that locate it."""

    # Counter-clockwise, the top left corner goes down, then right, then up.
    COUNTER_CLOCKWISE = ((0, 0), (-1, 0), (-1, -1), (0, -1))
    CLOCKWISE = ((0, 0), (0, -1), (-1, -1), (-1, 0))

    def images(self, count):
        images = np.random.default_rng(0).uniform(0, 0.9, size=(count, 8, 8, 3))
        images[:, 0, 0] = 1
        return images.astype(np.float32)

    def oracle(self, corners, calls=None):
        def predict(images):
            if calls is not None:
                calls.append((images.shape, images.dtype))
            return np.stack([images[:, r, c].mean(axis=-1) for r, c in corners], 1)

        return predict

    @pytest.mark.parametrize("count", [1, 5, 64, 150])
    def test_perfect_oracle(self, count):
        calls = []
        accuracy, confusion = rotation_head.head_accuracy(
            self.oracle(self.COUNTER_CLOCKWISE, calls), self.images(count)
        )
        assert accuracy == 1
        np.testing.assert_array_equal(confusion, count * np.eye(4))
        assert confusion.dtype == np.int64
        assert set(calls) == {((min(count, 64), 8, 8, 3), np.dtype(np.float32))}

    def test_the_wrong_direction_is_half_right(self):
        accuracy, confusion = rotation_head.head_accuracy(
            self.oracle(self.CLOCKWISE), self.images(70)
        )
        assert accuracy == 0.5
        expected = 70 * np.eye(4)[[0, 3, 2, 1]]
        np.testing.assert_array_equal(confusion, expected)

    def test_rows_are_true_orientations(self):
        # Upside down is predicted as upright, all else is right.
        corners = self.COUNTER_CLOCKWISE

        def predict(images):
            logits = self.oracle(corners)(images)
            logits[:, 0] = np.maximum(logits[:, 0], logits[:, 2] + 1e-3)
            logits[:, 2] -= 1
            return logits

        accuracy, confusion = rotation_head.head_accuracy(predict, self.images(6))
        expected = 6 * np.eye(4)
        expected[2] = [6, 0, 0, 0]
        assert accuracy == 0.75
        np.testing.assert_array_equal(confusion, expected)

    def test_five_classes_leave_the_fakes_out(self):
        def predict(images):
            logits = self.oracle(self.COUNTER_CLOCKWISE)(images)
            return tf.constant(np.pad(logits, ((0, 0), (0, 1)), constant_values=9))

        accuracy, _ = rotation_head.head_accuracy(predict, self.images(9))
        assert accuracy == 1

    def test_eight_classes_add_up_as_probabilities(self):
        # In both halves another wrong turn is likelier than the right one, 0.4 against
        # 0.3, but the right one has the largest sum, 0.6 against 0.5.
        def predict(images):
            turns = self.oracle(self.COUNTER_CLOCKWISE)(images).argmax(axis=1)
            rows = np.arange(len(turns))
            halves = np.full((2, len(turns), 4), 0.1)
            for half, wrong in zip(halves, (1, 2), strict=True):
                half[rows, turns] = 0.3
                half[rows, (turns + wrong) % 4] = 0.4
            return np.log(np.hstack(halves))

        accuracy, _ = rotation_head.head_accuracy(predict, self.images(9))
        assert accuracy == 1

    @pytest.mark.parametrize(
        "logits",
        [
            np.zeros((3, 3)),
            np.zeros((3, 6)),
            np.zeros((3, 9)),
            np.zeros((4, 4)),
            np.zeros(3),
            np.full((3, 4), np.nan),
            np.full((3, 8), np.inf),
        ],
    )
    def test_rejects_logits(self, logits):
        with pytest.raises(ValueError, match="Received: rotation_logits.shape="):
            rotation_head.head_accuracy(lambda images: logits, self.images(3))
