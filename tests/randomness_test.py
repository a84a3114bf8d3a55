"""Seeds, streams, and how a batch is dealt to its shares."""

import numpy as np
import oracles
import pytest
import tensorflow as tf

from ssgan_tf import randomness
from ssgan_tf.latents import Latents
from ssgan_tf.randomness import Share, deal, random_uniform, uniform


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_seeds_and_streams_never_meet(distribution):
    streams = [
        value for name, value in vars(randomness).items() if name.endswith("_STREAM")
    ]
    # Larger numbers are streams of runs that returned to a checkpoint.
    assert sorted(streams) == list(range(randomness.NUM_STREAMS))
    latents = Latents(4, distribution)
    seeds = [(s, t) for s in range(3) for t in streams]
    draws = np.stack([latents.sample(6, seed) for seed in seeds])
    assert len(np.unique(draws)) == draws.size


def test_uniform_numbers_are_the_upper_bits():
    numbers = random_uniform((64, 3), [7, 1])
    np.testing.assert_array_equal(numbers, oracles.uniform((64, 3), [7, 1]))


def test_a_seed_depends_on_all_of_its_parts():
    parts = [
        (seed, stream, draw) for seed in (0, 1) for stream in (0, 1) for draw in (0, 1)
    ]
    seeds = {tuple(randomness.fold(*part).numpy().tolist()) for part in parts}
    assert len(seeds) == len(parts)
    # Tensors give the same seed as integers.
    tensors = [tf.constant(part, tf.int64) for part in (5, 2, 7)]
    np.testing.assert_array_equal(
        randomness.fold(*tensors), randomness.fold(5, 2, tensors[2])
    )


@pytest.mark.parametrize("num_shares", [1, 2, 3])
def test_shares_are_the_rows_of_the_global_draw(num_shares):
    key = dict(seed=3, stream=1, draw=tf.constant(9, tf.int64))
    whole = deal(uniform((2, 5)), 6, Share(0, 1), **key).numpy()
    np.testing.assert_array_equal(
        whole, random_uniform((6, 2, 5), randomness.fold(3, 1, key["draw"]))
    )
    for index in range(num_shares):
        rows = 6 // num_shares
        ours = deal(uniform((2, 5)), rows, Share(index, num_shares), **key)
        np.testing.assert_array_equal(ours, whole[index::num_shares])


def test_a_piece_is_a_share_of_a_share():
    rows = np.arange(24)

    def owned(share):
        return rows[share.index :: share.count]

    for replica in (0, 1):
        share = Share(replica, 2)
        for i in range(3):
            ours = owned(share.piece(i, 3))
            np.testing.assert_array_equal(ours, owned(share)[i::3])
