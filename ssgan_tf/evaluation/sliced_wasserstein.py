"""Sliced Wasserstein distance between patches, through TFGAN."""

import numpy as np
import tensorflow as tf

from ssgan_tf.evaluation import tfgan

PATCH_SIZE = 7
# More images cost time and change little (Karras et al.).
MAX_IMAGES = 8192
_DITHER = 1e-2


def distance(real_images: np.ndarray, fake_images: np.ndarray, seed: int) -> float:
    """Sliced Wasserstein distance between 7x7 patches, times 1,000.

    TFGAN's distance between reals and fakes on each level of a Laplacian pyramid,
    from full resolution down to 16, averaged over the levels and multiplied by
    1,000 as in Karras et al. TFGAN normalizes every patch by itself, Karras et al.
    every channel over all patches: published values are on another scale.

    A patch without contrast cannot be normalized (0 / 0). Uniform noise of +-0.005
    grey levels is added first, which turns flat patches into noise on both sides.

    A function of its arguments: NumPy's and TensorFlow's global random states are
    restored.

    Args:
        real_images: uint8, (N, H, H, C), C 1 (tiled) or 3.
        fake_images: uint8, of the same shape.
        seed: int in [0, 2**32).

    Reference:
        - Karras et al., 2018, https://arxiv.org/abs/1710.10196
    """
    rng = np.random.default_rng(seed)

    def dither(images):
        images = np.repeat(images, 3 // images.shape[-1], axis=-1)
        noise = rng.uniform(-0.5, 0.5, images.shape) * _DITHER
        return (images + noise).astype(np.float32)

    # A separate graph leaves TensorFlow's seed alone and is freed on return.
    graph = tf.Graph()
    with graph.as_default(), tf.device("/CPU:0"):
        tf.random.set_seed(seed)
        shape = (*real_images.shape[:-1], 3)
        real = tf.compat.v1.placeholder(tf.float32, shape)
        fake = tf.compat.v1.placeholder(tf.float32, shape)
        levels = tfgan.import_eval().sliced_wasserstein_distance(real, fake)
        distances = [real_to_fake for _, real_to_fake in levels]
    # TFGAN draws the patches with `np.random` in Python ops, which the executor may
    # start in any order: run them one by one, then feed their outputs.
    patches = [op.outputs[0] for op in graph.get_operations() if "PyFunc" in op.type]
    feed = {real: dither(real_images), fake: dither(fake_images)}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with tf.compat.v1.Session(graph=graph) as session:
            drawn = {op: session.run(op, feed) for op in patches}
            values = [session.run(distance, drawn | feed) for distance in distances]
    finally:
        np.random.set_state(state)
    return 1000.0 * float(np.mean(values))
