"""Small GANs with every feature, and functions that train and compare them."""

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
from ssgan_tf.rotation import MinimaxRotationTask, RotationTask
from ssgan_tf.tasks import ClassTask

BATCH, SHARE, LATENT_DIM, CLASSES = 16, 8, 5, 3
# Options of `build` for one step of gradient descent at rate 1.
ONE_STEP = dict(adam=False, d_steps=1, steps_per_execution=1)


class Objective(NamedTuple):
    """Networks and losses of a GAN.

    Attributes:
        norm: the norm of G.
        discriminator: dict. Arguments of D.
        options: dict. Arguments of `GAN.compile`.
        generator: dict. Further arguments of G.
    """

    norm: type
    discriminator: dict
    options: dict
    generator: dict = {}


# 6 images in every orientation, 3 on each of two replicas.
PLAIN = Objective(BatchNorm, {}, {"tasks": [RotationTask(24)]})
# Together these have every setting that might depend on the number of replicas.
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
    SelfModulatedBatchNorm,
    {"rotation_classes": 5},
    {
        "tasks": [MinimaxRotationTask(24)],
        "augmentation": Augmentation(),
        "penalty": penalties.Dragan(),
    },
)


class LabelledLayerNorm(LayerNorm):
    """Layer norm and a bias that is linear in the label, without batch moments."""

    def build(self, inputs_shape, latents_shape=None, label_vectors_shape=None):
        super().build(inputs_shape)
        self.shift = Dense(inputs_shape[-1], use_bias=False, name="shift")
        self.shift.build(label_vectors_shape)

    def call(self, inputs, latents=None, label_vectors=None, training=False):
        return super().call(inputs) + self.shift(label_vectors)[:, None, None, :]


# Four replicas: 4 images in every orientation, 1 on each; a batch norm, spectral norms,
# labels, a penalty, and augmentation.
FOUR = Objective(
    ConditionalBatchNorm,
    {"spectral_norm": "left", "num_classes": CLASSES},
    {
        "tasks": [RotationTask(16)],
        "augmentation": Augmentation(),
        "penalty": penalties.WganGP(),
    },
)

# Without moments over the batch; both networks have spectral norms and read labels.
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
    # One block each: compilation for two replicas takes most of the time.
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
        # At a rate of 1 the change of a weight is its gradient. Adam's epsilon is far
        # above rounding noise, the gradient of biases before a batch norm, and far
        # below all other gradients.
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


def batches(num_steps, d_steps):
    """Images and labels by step, D update, row."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(num_steps, d_steps, BATCH, 8, 8, 3))
    labels = rng.integers(0, CLASSES, images.shape[:3])
    row = np.arange(BATCH)
    odd, pair = row % 2 == 1, row // 2
    # Row i belongs to replica i % R. The replicas see different images, so moments of a
    # share alone would be wrong.
    images[:, :, odd] **= 3
    # They see different numbers of labels, so means over those would be wrong too.
    labels[:, :, np.where(odd, pair >= 2, pair % 3 == 0)] = -1
    return images.astype("float32"), labels.astype("int32")


def elements(num_steps, d_steps, context):
    """The elements of one input pipeline, one per local replica and step."""
    replicas = context.num_replicas_in_sync
    local = replicas // context.num_input_pipelines
    mine = slice(local * context.input_pipeline_id, None)

    def dealt(array):
        array = array.reshape(num_steps, d_steps, -1, replicas, *array.shape[3:])
        array = np.moveaxis(array, 3, 1)[:, mine][:, :local]
        return array.reshape(num_steps * local, -1, *array.shape[4:])

    return tuple(map(dealt, batches(num_steps, d_steps)))


def train(gan, num_steps, calls):
    """Runs the compiled train function as `fit` does."""
    gan.make_train_function()

    def stream(context):
        data = elements(num_steps, gan.d_steps, context)
        # For several workers a stream that ends would have unknown batch sizes.
        return tf.data.Dataset.from_tensor_slices(data).repeat()

    strategy = gan.distribute_strategy
    iterator = iter(strategy.distribute_datasets_from_function(stream))
    logs = [gan.train_function(iterator) for _ in range(calls)]
    return [{name: float(value) for name, value in log.items()} for log in logs]


def on_one_device(objective, num_steps, calls, d_steps, **options):
    gan = build(objective, d_steps=d_steps, **options)
    before = values(gan.generator), values(gan.discriminator)
    return gan, train(gan, num_steps, calls), before


def on_replicas(strategy, objective, num_steps, calls, d_steps, **options):
    with strategy.scope():
        gan = build(objective, d_steps=d_steps, **options)
    return gan, train(gan, num_steps, calls)


def variables(gan):
    return [
        *gan.generator.variables,
        *gan.discriminator.variables,
        *gan.average.variables,
        *gan.g_optimizer.variables,
        *gan.d_optimizer.variables,
    ]


def changes(gan, before):
    """The changes of all variables: with SGD at a rate of 1, their gradients."""
    networks = gan.generator.variables, gan.discriminator.variables
    return {
        variable.path: np.array(variable) - start
        for pair in zip(networks, before, strict=True)
        for variable, start in zip(*pair, strict=True)
    }


def assert_same_logs(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        assert set(one) == set(other)
        for name, value in other.items():
            np.testing.assert_allclose(
                one[name], value, rtol=1e-4, atol=1e-5, err_msg=name
            )
