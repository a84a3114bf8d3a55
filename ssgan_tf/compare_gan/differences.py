"""Differences between compare_gan's parameters and ours, with reasons.

Names that only differ in spelling are in `config/compare_gan_names.py`.
"""

from collections.abc import Collection, Iterator, Mapping

# Keys are our names where there are any. The name of a configurable covers all of its
# parameters, the name of a parameter those of all configurables.

# Parameter -> why its line is left out: no value of it changes a result here.
WITHOUT_EFFECT = {
    "options.discriminator_normalization": "compare_gan does not read it either",
    "dataset.seed": "run_config.seed decides the order of the data too",
    "cross_replica_moments.parallel": "it chooses between two ways to equal moments",
    "resnet_biggan_deep.Discriminator.blocks_with_attention": (
        "compare_gan does not read it: attention is at 64x64 places, there and here"
    ),
    "resnet_biggan_deep.Generator.blocks_with_attention": (
        "compare_gan has no such parameter: attention is at 64x64 places"
    ),
}
_LATENTS = (
    "z is uniform on [-1, 1) or normal with deviation 1. Name a distribution of your "
    "own in z.distribution_fn (docs/extending.md)"
)
_EMBEDDING = "labels are embedded in 128 numbers without bias, and z is not"
# Parameter -> why it does not exist here, and the alternative.
NOT_HERE = {
    "BigGanDeepResNetBlock": "the blocks are those of the paper's table",
    "BigGanResNetBlock": "shortcuts are 1x1 convolutions, where the shape changes",
    "D.batch_norm_fn": (
        "D has no batch normalization here. Take D.spectral_norm or D.layer_norm"
    ),
    "S3GAN.project_y": "D of a conditional GAN always has a projection",
    "S3GAN.use_soft_labels": (
        "labels are classes, not probabilities. dataset.label_file replaces them"
    ),
    "TpuSummaries": (
        "the logged values are fixed. run_config.save_summary_steps sets the interval"
    ),
    "conditional_batch_norm.use_bias": (
        "gain and bias of each class are one row of a matrix; another bias would add "
        "nothing but the centre of the gain, which is 1. See "
        "conditional_batch_norm.center_gain"
    ),
    "cross_replica_moments": "batch-norm moments are always those of all replicas",
    "eval_imagenet_transform": "scores take the central square. Crop a folder yourself",
    "eval_z": "scores draw z as training does. See z.distribution_fn",
    "options.use_tpu": "devices are a flag: ssgan train --strategy=tpu",
    "replace_labels": (
        "labels of your own are integers in one file: dataset.label_file = "
        '"labels.npy" (docs/data.md)'
    ),
    "resnet_biggan_deep.Generator.experimental_fast_conv_to_rgb": (
        "the last convolution has as many channels as the image"
    ),
    "run_config.single_core": "devices are a flag: ssgan train --strategy=one_device",
    "standardize_batch.use_cross_replica_mean": (
        "batch-norm moments are always those of all replicas"
    ),
    "train_imagenet_transform": (
        "random squares of 50 to 100 % of the area are cut once, before training. Cut "
        'others yourself, and train on dataset.name = "folder:DIR" (docs/data.md)'
    ),
    "z": _LATENTS,
    # Parameters of several configurables.
    "deprecated_split_disc_calls": (
        "D sees real and fake images in one call. options.accumulate = 2 saves memory"
    ),
    "embed_bias": _EMBEDDING,
    "embed_y_dim": _EMBEDDING,
    "embed_z": _EMBEDDING,
    "experimental_force_graph_unroll": (
        "G's update takes the fakes of D's last one, as compare_gan's does on GPUs"
    ),
    "experimental_joint_gen_for_disc": (
        "G's batch-norm moments are those of one update's batch"
    ),
    "fit_label_distribution": "G's labels are drawn with equal chances",
}
NOT_HERE |= {
    f"{gan}.{parameter}": (
        f"bind ModularGAN.{parameter}. In compare_gan this line wins over one of "
        f"ModularGAN, and is read only where options.gan_class = @{gan}"
    )
    for gan in ("SSGAN", "S3GAN")
    for parameter in (
        "conditional",
        "d_lr",
        "d_optimizer_fn",
        "ema_decay",
        "ema_start_step",
        "g_lr",
        "g_optimizer_fn",
        "g_use_ema",
    )
}
NO_NORM = (
    "there is no G without norms here. Take @batch_norm, or name a norm of your own "
    "(docs/extending.md)"
)
_FOLDER = (
    'Make a folder of the images: dataset.name = "folder:DIR", dataset.resolution = '
    "{} (docs/data.md)"
)
# Parameter -> its value, as gin text -> why a line with it is not mapped.
NO_VALUES = {
    "G.batch_norm_fn": {"None": NO_NORM, "@no_batch_norm": NO_NORM},
    "SSGAN.self_supervision": {
        value: "without rotations it is options.gan_class = @ModularGAN"
        for value in ("None", "'none'")
    },
    "self_modulated_batch_norm.num_hidden": {
        "0": "gain and bias come from a hidden layer: it must be 1 or more"
    },
    "options.architecture": {
        "'infogan_arch'": "InfoGAN's networks are not here; 'sndcgan' is nearest",
        "'dummy_arch'": "it is compare_gan's own test",
        "'resnet5_ablation'": "it is not here; 'resnet5' is nearest",
    },
    "dataset.name": {
        "'imagenet_512'": _FOLDER.format(512),
        "'imagenet_512_hq400'": _FOLDER.format(512),
        "'single_class_imagenet_128'": _FOLDER.format(128),
        "'random_class_imagenet_128'": (
            "'imagenet128' with random classes in dataset.label_file is the same"
        ),
        "'soft_labeled_imagenet_128'": (
            "labels are classes, not probabilities: 'imagenet128' with "
            "dataset.label_file is nearest"
        ),
        "'labeled_only_imagenet_128'": (
            "unlabelled images are not left out. " + _FOLDER.format(128)
        ),
    },
}
# The same for lines that are left out, because they bind the default.
WITHOUT_VALUES = {
    "run_config.seed": {"None": "every run has a seed here, 0 by default"},
}

# Parameters of a complete experiment.
REQUIRED = (
    "dataset.name",
    "options.gan_class",
    "options.architecture",
    "options.batch_size",
    "options.training_steps",
)
# Parameter -> compare_gan's default where ours differs and a run changes, as gin text,
# and its meaning.
DEFAULTS = {
    "standardize_batch.decay": ("0.999", "decay of the moving moments"),
    "standardize_batch.epsilon": ("0.001", "added to the variance"),
    "run_config.keep_checkpoint_max": ("1000", "to keep all checkpoints for scoring"),
}
D_ATTENTION = (
    '"B1"',
    "attention at half of the image's size, which takes memory; by default at 64x64",
)


def differences(bound: Mapping[str, object], implied: Collection[str]) -> Iterator[str]:
    """Differences in numbers although the names are the same.

    Args:
        bound: our names of the parameters that a file binds -> their values.
        implied: the parameters of `compare_gan_names.IMPLIED` that it binds.
    """
    gan = bound.get("options.gan_class")
    conditional = bound.get("ModularGAN.conditional")
    is_biggan = "biggan" in str(bound.get("options.architecture"))
    has_projection = any(key.endswith("project_y") for key in implied)
    has_rotation = bound.get("S3GAN.self_supervision") != "none"
    data = str(bound.get("dataset.name"))
    if (
        bound.get("G.batch_norm_fn") == "@conditional_batch_norm"
        and "conditional_batch_norm.center_gain" not in bound
    ):
        yield (
            "the gain of conditional batch norm is centred on 1 and starts at 1; "
            "compare_gan's is not. For its weights: "
            "conditional_batch_norm.center_gain = False"
        )
    if conditional and not has_projection and not is_biggan:
        yield "D of a conditional GAN has a projection; compare_gan's had none"
    if conditional and gan == "@SSGAN":
        yield (
            "rotated fakes carry the fakes' labels; in compare_gan those of the real "
            "images"
        )
    if gan == "@SSGAN" or (gan == "@S3GAN" and has_rotation):
        yield (
            "the rotation loss is computed from logits; compare_gan's "
            "log(softmax + 1e-10) has no gradient where the head is most wrong"
        )
    if bound.get("z.distribution_fn") == "@normal" and (
        "eval_z.distribution_fn" not in implied
    ):
        yield (
            "scores draw z from the normal distribution, as training does; "
            "compare_gan's drew it uniformly where eval_z is not set"
        )
    if data.startswith("imagenet"):
        yield (
            "the random square of an image is cut once, before training; in "
            "compare_gan anew in every epoch"
        )
    if bound.get("options.disc_iters", 1) != 1:
        yield (
            "options.training_steps counts updates of G, here and in compare_gan, "
            "whose help text is wrong"
        )
    yield (
        "G's update takes the images of D's last one, as compare_gan's does on GPUs; "
        "on TPUs it draws fresh ones"
    )
