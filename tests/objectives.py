"""Small GANs with everything in them, and how they are trained and compared."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from oracles import tiny_discriminator, tiny_generator, values

from ssgan_tf import losses, penalties
from ssgan_tf.augmentation import Augmentation
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents
from ssgan_tf.layers import (
    BatchNorm,
    ConditionalBatchNorm,
    Dense,
    LayerNorm,
    SelfModulatedBatchNorm,
)
from ssgan_tf.optimizers import Adam
from ssgan_tf.s3gan import ClassTask
from ssgan_tf.ssgan import MinimaxRotationTask, RotationTask

BATCH, SHARE, LATENT_DIM, CLASSES = 16, 8, 5, 3


class Objective(NamedTuple):
    """What is trained: networks and losses.

    Attributes:
        norm: of G.
        discriminator: dict of what is asked of D.
        options: dict of what is asked of `GAN.compile`.
        generator: dict of what else is asked of G.
    """

    norm: type
    discriminator: dict
    options: dict
    generator: dict = {}


# 6 images in every orientation, 3 on each replica.
PLAIN = Objective(BatchNorm, {}, {"tasks": [RotationTask(24)]})
MODULATED = PLAIN._replace(norm=SelfModulatedBatchNorm)
# Each setting that the number of replicas could meddle with is in one of these.
FEW_LABELS = Objective(
    ConditionalBatchNorm,
    {"num_classes": CLASSES, "class_predictor": True, "soft_predictions": True},
    {
        "tasks": [RotationTask(16, each_in_one=True), ClassTask(CLASSES)],
        "penalty": penalties.WganGP(),
        "penalty_weight": 3.0,
        "penalty_interval": 2,
    },
)
MINIMAX = Objective(
    BatchNorm,
    {"rotation_classes": 5},
    {
        "tasks": [MinimaxRotationTask(24)],
        "augmentation": Augmentation(),
        "penalty": penalties.Dragan(),
    },
)


class LabelledLayerNorm(LayerNorm):
    """Layer norm and a bias that is linear in the label: no example sees another."""

    def build(self, inputs_shape, latents_shape=None, label_vectors_shape=None):
        super().build(inputs_shape)
        self.shift = Dense(inputs_shape[-1], use_bias=False, name="shift")
        self.shift.build(label_vectors_shape)

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        return super().call(inputs) + self.shift(label_vectors)[:, None, None, :]


# No moment is taken over a batch; both networks have spectral norms and read labels.
WITHOUT_MOMENTS = Objective(
    LabelledLayerNorm,
    {"spectral_norm": "left", "num_classes": CLASSES},
    {
        "tasks": [RotationTask(32)],
        "augmentation": Augmentation(),
        "penalty": penalties.WganGP(),
        "penalty_interval": 2,
    },
    {"spectral_norm": "left"},
)


def build(objective, *, adam, d_steps, steps_per_execution):
    # One block each: compiling for two replicas takes most of the time here.
    nets = dict(
        norm=objective.norm,
        num_classes=objective.discriminator.get("num_classes", 0),
        start=(4, 6),
        widths=(4,),
        **objective.generator,
    )
    gan = GAN(
        tiny_generator(**nets),
        tiny_discriminator(stages=((6, "down"),), **objective.discriminator),
        latents=Latents(LATENT_DIM),
        seed=3,
        average=tiny_generator(**nets),
    )

    def optimizer():
        # With a rate of 1 the change of a weight is its gradient. Adam's epsilon is
        # far above rounding, which some biases (those before a batch norm) have for
        # a gradient, and far below all other gradients.
        if not adam:
            return keras.optimizers.SGD(1.0)
        return Adam(1e-3, beta_1=0.0, beta_2=0.9, epsilon=1e-5)

    gan.compile(
        g_optimizer=optimizer(),
        d_optimizer=optimizer(),
        adversarial_loss=losses.NonSaturating(),
        d_steps=d_steps,
        ema_decay=0.6,
        ema_start_step=1,
        steps_per_execution=steps_per_execution,
        **objective.options,
    )
    return gan


def shares(num_steps, d_steps):
    """Images and labels by step, D update, replica, row."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(num_steps, d_steps, 2, SHARE, 8, 8, 3))
    # The replicas see unlike images: moments of a share alone would be wrong.
    images[:, :, 1] **= 3
    labels = rng.integers(0, CLASSES, images.shape[:4])
    # And unlike numbers of labels: so would be means over the labelled of a share.
    labels[:, :, 0, ::3] = labels[:, :, 1, 2:] = -1
    return images.astype("float32"), labels.astype("int32")


def train(gan, batches, calls):
    """Runs the compiled train function as `fit` does."""
    strategy = gan.distribute_strategy
    gan.make_train_function()
    data = tf.data.Dataset.from_tensor_slices(batches)
    iterator = iter(strategy.distribute_datasets_from_function(lambda _: data))
    logs = [gan.train_function(iterator) for _ in range(calls)]
    return [{name: float(value) for name, value in log.items()} for log in logs]


def on_one_device(objective, num_steps, calls, d_steps, **options):
    gan = build(objective, d_steps=d_steps, **options)
    before = values(gan.generator), values(gan.discriminator)
    # Row i of the batch is dealt to replica i % 2.
    batches = tuple(
        np.swapaxes(array, 2, 3).reshape(num_steps, d_steps * BATCH, *array.shape[4:])
        for array in shares(num_steps, d_steps)
    )
    return gan, train(gan, batches, calls), before


def elements(num_steps, d_steps):
    """One per replica and step: the pieces of its share, update by update."""
    return tuple(
        np.swapaxes(array, 1, 2).reshape(
            2 * num_steps, d_steps * SHARE, *array.shape[4:]
        )
        for array in shares(num_steps, d_steps)
    )


def on_two_replicas(strategy, objective, num_steps, calls, d_steps, **options):
    with strategy.scope():
        gan = build(objective, d_steps=d_steps, **options)
    return gan, train(gan, elements(num_steps, d_steps), calls)


def variables(gan):
    return [
        *gan.generator.variables,
        *gan.discriminator.variables,
        *gan.average.variables,
        *gan.g_optimizer.variables,
        *gan.d_optimizer.variables,
    ]


def assert_same_logs(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        assert set(one) == set(other)
        for name, value in other.items():
            np.testing.assert_allclose(
                one[name], value, rtol=1e-4, atol=1e-5, err_msg=name
            )
