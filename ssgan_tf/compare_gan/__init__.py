"""compare_gan's weights in networks of ours, and its gin files in our names.

The variables of compare_gan have the paths of our layers as names, except for

    compare_gan                                     here
    generator/B1/bn1/sbn/gamma/kernel               generator/B1/bn1/gamma/kernel
    generator/B1/bn1/condition/gamma/kernel         generator/B1/bn1/gamma/kernel
    generator/B1/bn1/accu/accu_mean                 generator/B1/bn1/moving_mean
      divided by accu_counter
    discriminator/B1/same_conv1/kernel/u_var        .../same_conv1/spectral_norm/u
    discriminator_rotation/score_classify/kernel    discriminator/score_classify/kernel
    discriminator_predictor/predictor_linear/bias   discriminator/predictor_linear/bias
    discriminator_projection/kernel                 discriminator/embedding_fc/kernel

A name that ends in `/ExponentialMovingAverage` is the average of that weight and
replaces it. The networks are inferred from names and shapes; flags decide the rest.

    checkpoint.py   reads variables under our names
    inference.py    infers the networks from names and shapes
    conversion.py   builds them and compares their outputs
    migration.py    rewrites gin files
    differences.py  parameters without a counterpart here

Reference:
    - https://github.com/google/compare_gan, architectures/ and gans/
"""

from ssgan_tf.compare_gan.checkpoint import path_of
from ssgan_tf.compare_gan.conversion import Converted, convert, summary
from ssgan_tf.compare_gan.inference import ARCHITECTURES, infer

__all__ = [
    "ARCHITECTURES",
    "Converted",
    "convert",
    "infer",
    "path_of",
    "summary",
]
