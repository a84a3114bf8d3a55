"""What a config says of Figure 3: a classifier whose task changes."""

import dataclasses
from collections.abc import Callable

import gin
import keras

from ssgan_tf import datasets
from ssgan_tf.config.checks import (
    ConfigError,
    check_integer,
    check_number,
    config_errors,
    made_by,
)
from ssgan_tf.config.gan import adam
from ssgan_tf.config.networks import discriminator
from ssgan_tf.config.parser import configurable
from ssgan_tf.config.plan import dataset
from ssgan_tf.networks import Discriminator
from ssgan_tf.rotation import NUM_ROTATIONS


@dataclasses.dataclass(frozen=True)
class Forgetting:
    """What `dataset.name` and `forgetting` were given, checked."""

    dataset: str
    architecture: str
    batch_size: int
    training_steps: int
    steps_per_task: int
    eval_every_steps: int
    weight_rotation_loss: float
    rotated_batch_size: int
    lr: float
    optimizer_fn: Callable[[float], keras.optimizers.Optimizer]
    seed: int

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
        asked = {
            "image_shape": datasets.get_spec(self.dataset).image_shape,
            "rotation_classes": NUM_ROTATIONS if self.num_rotated else 0,
        }
        with config_errors():
            network = discriminator(self.architecture, asked)
            optimizer = made_by(
                "forgetting.optimizer_fn",
                self.optimizer_fn,
                keras.optimizers.Optimizer,
                self.lr,
            )
        optimizer.build(network.trainable_variables)
        return network, optimizer


@configurable("forgetting", denylist=["name"])
def _forgetting(
    name: str,
    architecture: str = gin.REQUIRED,
    batch_size: int = gin.REQUIRED,
    training_steps: int = gin.REQUIRED,
    steps_per_task: int = gin.REQUIRED,
    eval_every_steps: int = 50,
    weight_rotation_loss: float = 1.0,
    rotated_batch_size: int = 64,
    lr: float = 2e-4,
    optimizer_fn: Callable = adam,
    seed: int = 0,
) -> Forgetting:
    """A classifier whose task changes, for `ssgan forget`: Figure 3.

    Args:
        name: `dataset.name`.
        architecture: as `options.architecture`. Whose D is the network.
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
        seed: int >= 0. Of the weights and of the batches.
    """
    for parameter, value, at_least in (
        ("batch_size", batch_size, 2),
        ("training_steps", training_steps, 1),
        ("steps_per_task", steps_per_task, 1),
        ("eval_every_steps", eval_every_steps, 1),
        ("rotated_batch_size", rotated_batch_size, 4),
        ("seed", seed, 0),
    ):
        check_integer(f"forgetting.{parameter}", value, at_least=at_least)
    check_number("forgetting.weight_rotation_loss", weight_rotation_loss)
    check_number("forgetting.lr", lr)
    if batch_size % 2 or rotated_batch_size % 4 or rotated_batch_size > 4 * batch_size:
        raise ConfigError(
            "`forgetting.batch_size` must be even, and `forgetting.rotated_batch_size` "
            "four times a number of images of the batch. Received: batch_size="
            f"{batch_size}, rotated_batch_size={rotated_batch_size}. Take 64 and 64."
        )
    if steps_per_task % eval_every_steps:
        raise ConfigError(
            "`forgetting.eval_every_steps` must divide `forgetting.steps_per_task`: "
            "there is a test at every change. Received: eval_every_steps="
            f"{eval_every_steps}, steps_per_task={steps_per_task}. Set one of them so "
            "that it does."
        )
    return Forgetting(
        name,
        architecture,
        batch_size,
        training_steps,
        steps_per_task,
        eval_every_steps,
        weight_rotation_loss,
        rotated_batch_size,
        lr,
        optimizer_fn,
        seed,
    )


def forgetting() -> Forgetting:
    """Reads the parsed configuration.

    Raises:
        ConfigError: a value cannot be used; the data set has no labels.
    """
    with config_errors():
        name, *others = dataset()
        plan = _forgetting(name)
    if not datasets.get_spec(name).num_classes or others != [1.0, None, False]:
        raise ConfigError(
            "The task is told from labels: `dataset.name` must be a data set that has "
            "them, all of its own, and no image is flipped. Received: dataset.name="
            f"{name!r}, label_fraction={others[0]}, label_file={others[1]!r}, flip="
            f"{others[2]}. Take cifar10, and leave the others out."
        )
    return plan
