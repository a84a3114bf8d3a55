"""The parameters of Figure 3: a classifier whose task changes."""

import dataclasses
from collections.abc import Callable

import gin
import keras

from ssgan_tf import datasets
from ssgan_tf.config import checks
from ssgan_tf.config.gan import adam
from ssgan_tf.config.networks import discriminator
from ssgan_tf.config.parser import configurable
from ssgan_tf.config.plan import DatasetOptions
from ssgan_tf.networks import Discriminator
from ssgan_tf.rotation import NUM_ROTATIONS


@configurable("forgetting")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Forgetting:
    """A classifier whose task changes, for `ssgan forget`: Figure 3.

    Attributes:
        dataset: `dataset.name`.
        architecture: as `options.architecture`. The classifier is its D.
        batch_size: int >= 2. Images per update, an even number.
        training_steps: int >= 1. Updates.
        steps_per_task: int >= 1. Updates before the class changes.
        eval_every_steps: int >= 1. Updates between two tests; divides `steps_per_task`.
        weight_rotation_loss: float >= 0. Weight of the rotation loss; 0: the network
            has no rotation head.
        rotated_batch_size: int >= 4. Images in the rotation loss per batch, upright
            ones included: a multiple of 4, at most 4 x `batch_size`.
        lr: float >= 0. Learning rate.
        optimizer_fn: reference. Makes the optimizer; a function of the learning rate.
        seed: int >= 0. Seed of the weights and of the batches.
    """

    dataset: str
    architecture: str = gin.REQUIRED
    batch_size: checks.integer(2) = gin.REQUIRED
    training_steps: checks.Count = gin.REQUIRED
    steps_per_task: checks.Count = gin.REQUIRED
    eval_every_steps: checks.Count = 50
    weight_rotation_loss: checks.NonNegative = 1.0
    rotated_batch_size: checks.integer(NUM_ROTATIONS) = 64
    lr: checks.NonNegative = 2e-4
    optimizer_fn: Callable[[float], keras.optimizers.Optimizer] = adam
    seed: checks.Natural = 0

    def __post_init__(self):
        batch_size, rotated = self.batch_size, self.rotated_batch_size
        if batch_size % 2 or rotated % 4 or rotated > 4 * batch_size:
            raise checks.ConfigError(
                "`forgetting.batch_size` must be even, and "
                "`forgetting.rotated_batch_size` a multiple of 4, at most 4 x "
                f"batch_size. Received: batch_size={batch_size}, "
                f"rotated_batch_size={rotated}. Take 64 and 64."
            )
        if self.steps_per_task % self.eval_every_steps:
            raise checks.ConfigError(
                "`forgetting.eval_every_steps` must divide "
                "`forgetting.steps_per_task`, to test at every change. Received: "
                f"eval_every_steps={self.eval_every_steps}, "
                f"steps_per_task={self.steps_per_task}. Change one of them."
            )

    @property
    def num_rotated(self) -> int:
        """Images per batch that are shown in every orientation."""
        return self.rotated_batch_size // 4 if self.weight_rotation_loss else 0

    def build(self) -> tuple[Discriminator, keras.optimizers.Optimizer]:
        """The network with weights drawn from the seed, and its optimizer, built.

        Sets the global seeds of Python, NumPy and TensorFlow.

        Raises:
            ConfigError: a value cannot be used.
        """
        keras.utils.set_random_seed(self.seed % 2**32)
        spec_fields = {
            "image_shape": datasets.get_spec(self.dataset).image_shape,
            "rotation_classes": NUM_ROTATIONS if self.num_rotated else 0,
        }
        with checks.config_errors():
            network = discriminator(self.architecture, spec_fields)
            optimizer = checks.made_by(
                "forgetting.optimizer_fn",
                self.optimizer_fn,
                keras.optimizers.Optimizer,
                (self.lr,),
            )
        optimizer.build(network.trainable_variables)
        return network, optimizer


def forgetting() -> Forgetting:
    """Reads the parsed configuration.

    Raises:
        ConfigError: a value cannot be used; the data set has no labels.
    """
    with checks.config_errors():
        data = DatasetOptions()
        settings = Forgetting(dataset=data.full_name)
    changed = (data.label_fraction, data.label_file, data.flip) != (1.0, None, False)
    if changed or not datasets.get_spec(data.full_name).num_classes:
        raise checks.ConfigError(
            "`dataset.name` must be a data set with labels, all of them its own, "
            f"without flips. Received: dataset.name={data.full_name!r}, "
            f"label_fraction={data.label_fraction}, label_file={data.label_file!r}, "
            f"flip={data.flip}. Take cifar10, and leave the others out."
        )
    return settings
