"""The parameters of the GAN: losses, penalties, optimizers and objectives."""

import functools
from collections.abc import Callable, Sequence

import gin
import keras
import tensorflow as tf

from ssgan_tf import losses, penalties
from ssgan_tf.augmentation import OPERATIONS, Augmentation
from ssgan_tf.config.checks import (
    ConfigError,
    check_choice,
    check_flag,
    check_integer,
    check_list,
    check_number,
    made_by,
)
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


@configurable("uniform", denylist=["dim"], legal_for=_LATENTS)
def uniform(dim: int) -> Latents:
    """z uniform on [-1, 1)."""
    return Latents(dim, "uniform")


@configurable("normal", denylist=["dim"], legal_for=_LATENTS)
def normal(dim: int) -> Latents:
    """z normal with mean 0 and deviation 1."""
    return Latents(dim, "normal")


@configurable("z", denylist=["dim"])
def z(dim: int, distribution_fn: Callable[[int], Latents] = uniform) -> Latents:
    """The distribution of z, in training and in evaluation.

    Args:
        dim: `options.z_dim`.
        distribution_fn: reference. Makes the distribution; a function of the size of z.
    """
    return made_by("z.distribution_fn", distribution_fn, Latents, (dim,))


for _name, _loss in (
    ("hinge", losses.Hinge),
    ("non_saturating", losses.NonSaturating),
    ("wasserstein", losses.Wasserstein),
    ("least_squares", losses.LeastSquares),
):
    configurable(_name, legal_for=_LOSSES)(_loss)


@configurable("loss")
def loss(
    fn: Callable[[], losses.AdversarialLoss] = losses.NonSaturating,
) -> losses.AdversarialLoss:
    """The adversarial loss.

    Args:
        fn: reference. Makes the pair of losses of D and G.
    """
    return made_by("loss.fn", fn, losses.AdversarialLoss)


class NoPenalty(penalties.Penalty):
    """No penalty; the train step leaves it out."""

    def value(self, discriminator, points, labels):
        return tf.zeros([])


for _name, _penalty in (
    ("no_penalty", NoPenalty),
    ("wgangp_penalty", penalties.WganGP),
    ("dragan_penalty", penalties.Dragan),
    ("r1_penalty", penalties.R1),
    ("l2_penalty", penalties.L2),
):
    configurable(_name, legal_for=_PENALTIES)(_penalty)


@configurable("penalty")
def penalty(
    fn: Callable[[], penalties.Penalty] = NoPenalty, interval: int = 1
) -> tuple[penalties.Penalty | None, int]:
    """The penalty of D, whose weight is `options.lamba`.

    Args:
        fn: reference. Makes the penalty.
        interval: int >= 1. n: the penalty acts on every n-th update of D, n times as
            strong (lazy regularization).
    """
    check_integer("penalty.interval", interval, at_least=1)
    made = made_by("penalty.fn", fn, penalties.Penalty)
    return None if isinstance(made, NoPenalty) else made, interval


@configurable("augmentation")
def augmentation(policy: Sequence[str] = ()) -> Augmentation | None:
    """Augmentation of every image, real or fake, before D (DiffAugment).

    Args:
        policy: list of "color", "translation" and "cutout". Operations in the order
            of application; empty: no augmentation.
    """
    check_list("augmentation.policy", policy, "'color', 'translation', 'cutout'")
    for operation in policy:
        check_choice("augmentation.policy", operation, tuple(OPERATIONS))
    return Augmentation(tuple(policy)) if policy else None


@configurable("adam", denylist=["learning_rate"], legal_for=_OPTIMIZERS)
def adam(
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> keras.optimizers.Optimizer:
    """Adam (Kingma and Ba, 2015).

    Args:
        learning_rate: float, or a schedule of Keras's.
        beta1: float in [0, 1). Decay of the mean gradient, per update.
        beta2: float in [0, 1). Decay of the mean squared gradient, per update.
        epsilon: float >= 0. Added to the root of that; the default is TensorFlow 1's,
            Keras's is 1e-7.
    """
    check_number("adam.beta1", beta1, below=1.0)
    check_number("adam.beta2", beta2, below=1.0)
    check_number("adam.epsilon", epsilon)
    return Adam(learning_rate, beta_1=beta1, beta_2=beta2, epsilon=epsilon)


@configurable(
    "ModularGAN",
    denylist=["plan", "objective", "heads", "adversarial"],
    legal_for=_GANS,
)
def modular_gan(
    plan,
    objective: Sequence[Task] = (),
    heads: dict | None = None,
    adversarial: bool = True,
    conditional: bool = False,
    tasks: Sequence[Callable[[], Task]] = (),
    g_lr: float = 2e-4,
    d_lr: float | None = None,
    lr_schedule: str = "constant",
    g_optimizer_fn: Callable = adam,
    d_optimizer_fn: Callable | None = None,
    g_use_ema: bool = False,
    ema_decay: float = 0.9999,
    ema_start_step: int = 40000,
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
    check_flag("ModularGAN.conditional", conditional)
    check_number("ModularGAN.g_lr", g_lr)
    check_number("ModularGAN.d_lr", d_lr)
    check_choice("ModularGAN.lr_schedule", lr_schedule, ("constant", "linear"))
    check_flag("ModularGAN.g_use_ema", g_use_ema)
    check_number("ModularGAN.ema_decay", ema_decay, below=1.0)
    check_integer("ModularGAN.ema_start_step", ema_start_step, at_least=0)
    check_list("ModularGAN.tasks", tasks, "@my_task")
    options = plan.options
    d_penalty, interval = penalty()
    own_tasks = [made_by("ModularGAN.tasks", task, Task) for task in tasks]
    gan = _networks(plan, conditional, heads or {}, with_average=g_use_ema)
    make_optimizer = functools.partial(_optimizer, options, lr_schedule)
    gan.compile(
        g_optimizer=make_optimizer("g", g_optimizer_fn, g_lr),
        d_optimizer=make_optimizer("d", d_optimizer_fn, d_lr),
        adversarial_loss=loss() if adversarial else None,
        tasks=[*objective, *own_tasks],
        penalty=d_penalty,
        penalty_weight=options.lamba,
        penalty_interval=interval,
        augmentation=augmentation(),
        d_steps=options.disc_iters,
        accumulate=options.accumulate,
        ema_decay=ema_decay,
        ema_start_step=ema_start_step,
        steps_per_execution=plan.run.iterations_per_loop,
        jit_compile=plan.jit_compile,
    )
    return gan


def _networks(plan, conditional: bool, heads: dict, *, with_average: bool) -> GAN:
    """The GAN before `compile`."""
    options = plan.options
    spec_fields = {
        "image_shape": plan.spec.image_shape,
        "num_classes": _num_classes(plan, conditional),
    }
    make_generator = functools.partial(
        generator, options.architecture, spec_fields | {"latent_dim": options.z_dim}
    )
    return GAN(
        make_generator(),
        discriminator(options.architecture, spec_fields | heads),
        latents=z(options.z_dim),
        seed=plan.run.seed,
        average=make_generator() if with_average else None,
    )


def _optimizer(options, schedule: str, player: str, factory: Callable, rate: float):
    """An optimizer of G or D with its learning rate or schedule."""
    if schedule == "linear":
        updates = options.training_steps * (options.disc_iters if player == "d" else 1)
        rate = keras.optimizers.schedules.PolynomialDecay(
            rate, updates, end_learning_rate=0.0
        )
    parameter = f"ModularGAN.{player}_optimizer_fn"
    optimizer = made_by(parameter, factory, keras.Optimizer, (rate,))
    if options.precision == "mixed_float16":
        return LossScaled(optimizer)
    return optimizer


def _num_classes(plan, conditional: bool) -> int:
    """Number of classes that the networks know."""
    data = plan.data
    if not conditional:
        if data.label_fraction < 1:
            raise ConfigError(
                "`dataset.label_fraction` must be 1 for a GAN that reads no labels. "
                f"Received: label_fraction={data.label_fraction}. Set "
                "ModularGAN.conditional = True."
            )
        if data.label_file is not None:
            raise ConfigError(
                "`dataset.label_file` must be None for a GAN that reads no labels. "
                f"Received: label_file={data.label_file!r}. Leave it out, or set "
                "ModularGAN.conditional = True."
            )
        return 0
    if not plan.spec.num_classes:
        raise ConfigError(
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


def _rotation_task(
    configurable_name: str,
    make_task: Callable[..., RotationTask],
    *,
    rotated_batch_size: int,
    weight_rotation_loss_d: float,
    weight_rotation_loss_g: float,
    each_in_one: bool,
    g_anneal_steps: int | None,
) -> RotationTask:
    """The task that SSGAN and S3GAN have in common, its parameters checked."""
    check_number(f"{configurable_name}.weight_rotation_loss_d", weight_rotation_loss_d)
    check_number(f"{configurable_name}.weight_rotation_loss_g", weight_rotation_loss_g)
    check_flag(f"{configurable_name}.each_in_one", each_in_one)
    if g_anneal_steps is not None:
        check_integer(f"{configurable_name}.g_anneal_steps", g_anneal_steps, at_least=1)
    return make_task(
        rotated_batch_size=rotated_batch_size,
        d_weight=weight_rotation_loss_d,
        g_weight=weight_rotation_loss_g,
        each_in_one=each_in_one,
        g_anneal_steps=g_anneal_steps,
    )


@configurable("SSGAN", denylist=["plan"], legal_for=_GANS)
def ss_gan(
    plan,
    self_supervision: str = "rotation_gan",
    rotated_batch_size: int = gin.REQUIRED,
    weight_rotation_loss_d: float = 1.0,
    weight_rotation_loss_g: float = 0.2,
    each_in_one: bool = False,
    g_anneal_steps: int | None = None,
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
    check_choice("SSGAN.self_supervision", self_supervision, tuple(_SELF_SUPERVISION))
    check_integer("SSGAN.rotated_batch_size", rotated_batch_size, at_least=4)
    make_task, adversarial = _SELF_SUPERVISION[self_supervision]
    task = _rotation_task(
        "SSGAN",
        make_task,
        rotated_batch_size=rotated_batch_size,
        weight_rotation_loss_d=weight_rotation_loss_d,
        weight_rotation_loss_g=weight_rotation_loss_g,
        each_in_one=each_in_one,
        g_anneal_steps=g_anneal_steps,
    )
    heads = {"rotation_classes": task.heads["rotation_logits"]}
    return modular_gan(plan, [task], heads, adversarial)


@configurable("S3GAN", denylist=["plan"], legal_for=_GANS)
def s3_gan(
    plan,
    self_supervision: str = "rotation",
    rotated_batch_fraction: int = 1,
    weight_rotation_loss_d: float = 1.0,
    weight_rotation_loss_g: float = 0.2,
    each_in_one: bool = False,
    g_anneal_steps: int | None = None,
    use_predictor: bool = False,
    use_soft_pred: bool = False,
    weight_class_loss: float = 1.0,
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
    check_choice("S3GAN.self_supervision", self_supervision, ("rotation", "none"))
    check_integer("S3GAN.rotated_batch_fraction", rotated_batch_fraction, at_least=1)
    check_flag("S3GAN.use_predictor", use_predictor)
    check_flag("S3GAN.use_soft_pred", use_soft_pred)
    check_number("S3GAN.weight_class_loss", weight_class_loss)
    tasks, heads = [], {}
    if self_supervision == "rotation":
        rotated, rest = divmod(plan.options.batch_size, rotated_batch_fraction)
        if rest or rotated % NUM_ROTATIONS:
            raise ConfigError(
                "`S3GAN.rotated_batch_fraction` must divide the batch size into a "
                "multiple of 4. Received: rotated_batch_fraction="
                f"{rotated_batch_fraction}, batch_size={plan.options.batch_size}."
            )
        tasks.append(
            _rotation_task(
                "S3GAN",
                RotationTask,
                rotated_batch_size=rotated,
                weight_rotation_loss_d=weight_rotation_loss_d,
                weight_rotation_loss_g=weight_rotation_loss_g,
                each_in_one=each_in_one,
                g_anneal_steps=g_anneal_steps,
            )
        )
        heads["rotation_classes"] = NUM_ROTATIONS
    if use_predictor:
        tasks.append(ClassTask(plan.spec.num_classes, weight_class_loss))
        heads |= {"class_predictor": True, "soft_predictions": use_soft_pred}
    return modular_gan(plan, tasks, heads)
