"""The parameters of the GAN: losses, penalties, optimizers and objectives."""

import functools
from collections.abc import Callable, Sequence

import gin
import keras
import tensorflow as tf

from ssgan_tf import losses, penalties
from ssgan_tf.augmentation import OPERATIONS, Augmentation
from ssgan_tf.config import checks
from ssgan_tf.config.networks import discriminator, generator
from ssgan_tf.config.parser import configurable
from ssgan_tf.gan import GAN
from ssgan_tf.latents import Latents
from ssgan_tf.optimizers import Adam, LossScaled
from ssgan_tf.rotation import (
    NUM_ROTATIONS,
    LabelAugmentedTask,
    MinimaxRotationTask,
    RotationTask,
)
from ssgan_tf.tasks import ClassTask, Task

_LATENTS, _LOSSES, _PENALTIES = ["z.distribution_fn"], ["loss.fn"], ["penalty.fn"]
_OPTIMIZERS = [
    "ModularGAN.g_optimizer_fn",
    "ModularGAN.d_optimizer_fn",
    "forgetting.optimizer_fn",
]
_GANS = ["options.gan_class"]


@configurable("uniform", legal_for=_LATENTS)
def uniform(dim: int) -> Latents:
    """z uniform on [-1, 1)."""
    return Latents(dim, "uniform")


@configurable("normal", legal_for=_LATENTS)
def normal(dim: int) -> Latents:
    """z normal with mean 0 and deviation 1."""
    return Latents(dim, "normal")


@configurable("z")
def z(dim: int, distribution_fn: Callable[[int], Latents] = uniform) -> Latents:
    """The distribution of z, in training and in evaluation.

    Args:
        dim: `options.z_dim`.
        distribution_fn: reference. Makes the distribution; a function of the size of z.
    """
    return checks.made_by("z.distribution_fn", distribution_fn, Latents, (dim,))


configurable("hinge", legal_for=_LOSSES)(losses.Hinge)
configurable("non_saturating", legal_for=_LOSSES)(losses.NonSaturating)
configurable("wasserstein", legal_for=_LOSSES)(losses.Wasserstein)
configurable("least_squares", legal_for=_LOSSES)(losses.LeastSquares)


@configurable("loss")
def loss(
    fn: Callable[[], losses.AdversarialLoss] = losses.NonSaturating,
) -> losses.AdversarialLoss:
    """The adversarial loss.

    Args:
        fn: reference. Makes the pair of losses of D and G.
    """
    return checks.made_by("loss.fn", fn, losses.AdversarialLoss)


@configurable("no_penalty", legal_for=_PENALTIES)
class NoPenalty(penalties.Penalty):
    """No penalty; the train step leaves it out."""

    def value(self, discriminator, points, labels):
        return tf.zeros([])


configurable("wgangp_penalty", legal_for=_PENALTIES)(penalties.WganGP)
configurable("dragan_penalty", legal_for=_PENALTIES)(penalties.Dragan)
configurable("r1_penalty", legal_for=_PENALTIES)(penalties.R1)
configurable("l2_penalty", legal_for=_PENALTIES)(penalties.L2)


@configurable("penalty")
def penalty(
    fn: Callable[[], penalties.Penalty] = NoPenalty, interval: checks.Count = 1
) -> tuple[penalties.Penalty | None, int]:
    """The penalty of D, whose weight is `options.lamba`.

    Args:
        fn: reference. Makes the penalty.
        interval: int >= 1. n: the penalty acts on every n-th update of D, n times as
            strong (lazy regularization).
    """
    made = checks.made_by("penalty.fn", fn, penalties.Penalty)
    return None if isinstance(made, NoPenalty) else made, interval


_Policy = checks.legal(
    Sequence[str],
    f"a list, each value one of {', '.join(map(repr, OPERATIONS))}",
    lambda value: (
        isinstance(value, list | tuple)
        and all(operation in tuple(OPERATIONS) for operation in value)
    ),
)


@configurable("augmentation")
def augmentation(policy: _Policy = ()) -> Augmentation | None:
    """Augmentation of every image, real or fake, before D (DiffAugment).

    Args:
        policy: list of "color", "translation" and "cutout". Operations in the order
            of application; empty: no augmentation.
    """
    return Augmentation(tuple(policy)) if policy else None


@configurable("adam", legal_for=_OPTIMIZERS)
def adam(
    learning_rate: float,
    beta1: checks.Decay = 0.9,
    beta2: checks.Decay = 0.999,
    epsilon: checks.NonNegative = 1e-8,
) -> keras.optimizers.Optimizer:
    """Adam (Kingma and Ba, 2015).

    Args:
        learning_rate: float, or a schedule of Keras's.
        beta1: float in [0, 1). Decay of the mean gradient, per update.
        beta2: float in [0, 1). Decay of the mean squared gradient, per update.
        epsilon: float >= 0. Added to the root of that; the default is TensorFlow 1's,
            Keras's is 1e-7.
    """
    return Adam(learning_rate, beta_1=beta1, beta_2=beta2, epsilon=epsilon)


_Tasks = checks.legal(
    Sequence[Callable[[], Task]],
    "a list, such as [@my_task]",
    lambda value: isinstance(value, list | tuple),
)


@configurable(
    "ModularGAN", legal_for=_GANS, denylist=["objective", "heads", "adversarial"]
)
def modular_gan(
    plan,
    objective: Sequence[Task] = (),
    heads: dict | None = None,
    adversarial: bool = True,
    conditional: checks.Flag = False,
    tasks: _Tasks = (),
    g_lr: checks.NonNegative = 2e-4,
    d_lr: checks.NonNegative | None = None,
    lr_schedule: checks.choice(["constant", "linear"]) = "constant",
    g_optimizer_fn: Callable = adam,
    d_optimizer_fn: Callable | None = None,
    g_use_ema: checks.Flag = False,
    ema_decay: checks.Decay = 0.9999,
    ema_start_step: checks.Natural = 40000,
) -> GAN:
    """A GAN without self-supervision. SSGAN and S3GAN use these parameters too.

    Args:
        plan: the `Plan`.
        objective: tasks of an objective.
        heads: heads of D that these need, as fields of `networks.DiscriminatorSpec`.
        adversarial: whether there is an adversarial loss.
        conditional: bool. Whether both networks get the labels.
        tasks: list of references. Each makes a further term of the losses, a task of
            your own.
        g_lr: float >= 0. Learning rate of G.
        d_lr: float >= 0, or None. Learning rate of D; None: that of G.
        lr_schedule: "constant" or "linear". "linear": both rates fall to zero over the
            training steps.
        g_optimizer_fn: reference. Makes the optimizer of G; a function of the learning
            rate.
        d_optimizer_fn: reference or None. The same of D; None: that of G.
        g_use_ema: bool. Whether to keep a moving average of G's weights, which is then
            sampled, exported and scored.
        ema_decay: float in [0, 1). Decay of the average, per step.
        ema_start_step: int >= 0. Before this step the average equals the weights.
    """
    d_lr = g_lr if d_lr is None else d_lr
    d_optimizer_fn = g_optimizer_fn if d_optimizer_fn is None else d_optimizer_fn
    options = plan.options
    d_penalty, interval = penalty()
    own_tasks = [checks.made_by("ModularGAN.tasks", task, Task) for task in tasks]
    make_optimizer = functools.partial(_optimizer, options, lr_schedule)
    g_optimizer = make_optimizer("g", g_optimizer_fn, g_lr)
    d_optimizer = make_optimizer("d", d_optimizer_fn, d_lr)
    adversarial_loss = loss() if adversarial else None
    d_augmentation = augmentation()
    # The networks come last, because they take long.
    fields = {
        "image_shape": plan.spec.image_shape,
        "num_classes": _num_classes(plan, conditional),
    }
    make_generator = functools.partial(
        generator, options.architecture, fields | {"latent_dim": options.z_dim}
    )
    gan = GAN(
        make_generator(),
        discriminator(options.architecture, fields | (heads or {})),
        latents=z(options.z_dim),
        seed=plan.run.seed,
        average=make_generator() if g_use_ema else None,
    )
    gan.compile(
        g_optimizer=g_optimizer,
        d_optimizer=d_optimizer,
        adversarial_loss=adversarial_loss,
        tasks=[*objective, *own_tasks],
        penalty=d_penalty,
        penalty_weight=options.lamba,
        penalty_interval=interval,
        augmentation=d_augmentation,
        d_steps=options.disc_iters,
        accumulate=options.accumulate,
        ema_decay=ema_decay,
        ema_start_step=ema_start_step,
        steps_per_execution=plan.run.iterations_per_loop,
        jit_compile=plan.jit_compile,
    )
    return gan


def _optimizer(options, schedule: str, player: str, factory: Callable, rate: float):
    """An optimizer of G or D with its learning rate or schedule."""
    if schedule == "linear":
        updates = options.training_steps * (options.disc_iters if player == "d" else 1)
        rate = keras.optimizers.schedules.PolynomialDecay(
            rate, updates, end_learning_rate=0.0
        )
    parameter = f"ModularGAN.{player}_optimizer_fn"
    optimizer = checks.made_by(parameter, factory, keras.Optimizer, (rate,))
    if options.precision == "mixed_float16":
        return LossScaled(optimizer)
    return optimizer


def _num_classes(plan, conditional: bool) -> int:
    """Number of classes that the networks know."""
    if not conditional:
        for name, needed in (("label_fraction", 1), ("label_file", None)):
            if getattr(plan.data, name) != needed:
                raise checks.ConfigError(
                    f"`dataset.{name}` must be {needed} for a GAN that reads no "
                    f"labels. {checks.received(name, getattr(plan.data, name))} Leave "
                    "it out, or set ModularGAN.conditional = True."
                )
        return 0
    if not plan.spec.num_classes:
        raise checks.ConfigError(
            "`ModularGAN.conditional` must be False for a data set without labels. "
            f"Received: conditional=True, dataset.name={plan.dataset!r}."
        )
    return plan.spec.num_classes


# Self-supervision -> (task, whether there is also an adversarial loss).
_SELF_SUPERVISION = {
    "rotation_gan": (RotationTask, True),
    "rotation_only": (RotationTask, False),
    "minimax_rotation": (MinimaxRotationTask, True),
    "label_augmentation": (LabelAugmentedTask, False),
}


@configurable("SSGAN", legal_for=_GANS)
def ss_gan(
    plan,
    self_supervision: checks.choice(_SELF_SUPERVISION) = "rotation_gan",
    rotated_batch_size: checks.integer(NUM_ROTATIONS) = gin.REQUIRED,
    weight_rotation_loss_d: checks.NonNegative = 1.0,
    weight_rotation_loss_g: checks.NonNegative = 0.2,
    each_in_one: checks.Flag = False,
    g_anneal_steps: checks.Count | None = None,
) -> GAN:
    """An SS-GAN: a ModularGAN whose D also predicts quarter turns.

    Args:
        plan: the `Plan`.
        self_supervision: "rotation_gan", "rotation_only", "minimax_rotation" or
            "label_augmentation". In this order: SS-GAN; the rotation loss alone;
            SS-GAN-MS, whose head has a fifth class for fakes; SSGAN-LA, one head for
            {real, fake} x rotation and no other.
        rotated_batch_size: int >= 4. Images in the rotation loss per batch, upright
            ones included: a multiple of 4 x replicas x `options.accumulate`, at most 4
            x `options.batch_size`.
        weight_rotation_loss_d: float >= 0. beta: weight of the rotation loss of real
            images in D's loss; 0 turns it off.
        weight_rotation_loss_g: float >= 0. alpha: weight of the rotation loss of fakes
            in G's loss; 0 turns it off.
        each_in_one: bool. False: the last `rotated_batch_size / 4` images of the batch
            are shown in all four orientations. True: `rotated_batch_size` images in one
            orientation each, a quarter of them in each; at most `options.batch_size`.
        g_anneal_steps: int >= 1, or None. alpha falls linearly to 0 at this step; None:
            it stays.
    """
    make_task, adversarial = _SELF_SUPERVISION[self_supervision]
    task = make_task(
        rotated_batch_size=rotated_batch_size,
        d_weight=weight_rotation_loss_d,
        g_weight=weight_rotation_loss_g,
        each_in_one=each_in_one,
        g_anneal_steps=g_anneal_steps,
    )
    heads = {"rotation_classes": task.heads["rotation_logits"]}
    return modular_gan(plan, [task], heads, adversarial)


@configurable("S3GAN", legal_for=_GANS)
def s3_gan(
    plan,
    self_supervision: checks.choice(["rotation", "none"]) = "rotation",
    rotated_batch_fraction: checks.Count = 1,
    weight_rotation_loss_d: checks.NonNegative = 1.0,
    weight_rotation_loss_g: checks.NonNegative = 0.2,
    each_in_one: checks.Flag = False,
    g_anneal_steps: checks.Count | None = None,
    use_predictor: checks.Flag = False,
    use_soft_pred: checks.Flag = False,
    weight_class_loss: checks.NonNegative = 1.0,
) -> GAN:
    """An S3GAN: a ModularGAN for few labels, with rotation loss or without.

    Args:
        plan: the `Plan`.
        self_supervision: "rotation" or "none". Whether D predicts quarter turns.
        rotated_batch_fraction: int >= 1. The rotation loss uses `options.batch_size`
            divided by this many images, upright ones included; a multiple of 4.
        weight_rotation_loss_d: float >= 0. As that of SSGAN.
        weight_rotation_loss_g: float >= 0. As that of SSGAN.
        each_in_one: bool. As that of SSGAN.
        g_anneal_steps: int >= 1, or None. As that of SSGAN.
        use_predictor: bool. Whether D learns to predict classes; its projection takes
            the prediction for real images without label.
        use_soft_pred: bool. True: the prediction is the softmax; False: the likeliest
            class.
        weight_class_loss: float >= 0. Weight of the predictor's cross-entropy in D's
            loss.
    """
    tasks, heads = [], {}
    if self_supervision == "rotation":
        rotated, rest = divmod(plan.options.batch_size, rotated_batch_fraction)
        if rest or rotated % NUM_ROTATIONS:
            raise checks.ConfigError(
                "`S3GAN.rotated_batch_fraction` must divide the batch size into a "
                "multiple of 4. Received: rotated_batch_fraction="
                f"{rotated_batch_fraction}, batch_size={plan.options.batch_size}."
            )
        tasks.append(
            RotationTask(
                rotated_batch_size=rotated,
                d_weight=weight_rotation_loss_d,
                g_weight=weight_rotation_loss_g,
                each_in_one=each_in_one,
                g_anneal_steps=g_anneal_steps,
            )
        )
        heads["rotation_classes"] = NUM_ROTATIONS
    if use_predictor:
        tasks.append(ClassTask(plan.spec.num_classes, weight_class_loss))
        heads |= {"class_predictor": True, "soft_predictions": use_soft_pred}
    return modular_gan(plan, tasks, heads)
