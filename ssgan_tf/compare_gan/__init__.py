"""compare_gan's weights as networks of ours.

compare_gan, in TensorFlow 1, names its variables by scopes that are the paths of our
layers, but for

    there                                           here
    generator/B1/bn1/sbn/gamma/kernel               generator/B1/bn1/gamma/kernel
    generator/B1/bn1/condition/gamma/kernel         generator/B1/bn1/gamma/kernel
    generator/B1/bn1/accu/accu_mean                 generator/B1/bn1/moving_mean
      divided by accu_counter
    discriminator/B1/same_conv1/kernel/u_var        .../same_conv1/spectral_norm/u
    discriminator_rotation/score_classify/kernel    discriminator/score_classify/kernel
    discriminator_predictor/predictor_linear/bias   discriminator/predictor_linear/bias
    discriminator_projection/kernel                 discriminator/embedding_fc/kernel

A name with `/ExponentialMovingAverage` behind it is the average of that weight and
takes its place. Names and shapes say what the networks are; what they cannot say, the
caller must.

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
