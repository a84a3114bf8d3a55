"""compare_gan's names in ours, and the values of its parameters that are fixed here."""

import re

# Networks that compare_gan calls `<network>.Generator` and `<network>.Discriminator`.
BIGGANS = ("resnet_biggan", "resnet5_biggan", "resnet_biggan_deep")
PLAYERS = {"Generator": "G", "Discriminator": "D"}
# compare_gan's name -> ours. Gin accepts the end of a name, so these have several.
ALIASES = (
    {
        "tf.train.AdamOptimizer": "adam",
        "train.AdamOptimizer": "adam",
        "AdamOptimizer": "adam",
        "run_config.tf_random_seed": "run_config.seed",
        "tf.random.normal": "normal",
        "random.normal": "normal",
        "tf.random.uniform": "uniform",
        "random.uniform": "uniform",
        "GPUModularGAN": "ModularGAN",
        "resnet_cifar.Generator.hierarchical_z": "G.hierarchical_z",
        "resnet_biggan.Generator.hierarchical_z": "G.hierarchical_z",
        "resnet5_biggan.Generator.hierarchical_z": "G.hierarchical_z",
    }
    | {
        f"{network}.{player}.ch": f"{ours}.width"
        for network in BIGGANS
        for player, ours in PLAYERS.items()
    }
    # compare_gan's deep networks ignore this parameter.
    | {
        f"{network}.{player}.blocks_with_attention": f"{ours}.attention"
        for network in BIGGANS[:2]
        for player, ours in PLAYERS.items()
    }
    # Subclasses take the parameters of G and D.
    | {
        f"{network}.{player}.{parameter}": f"{PLAYERS[player]}.{parameter}"
        for network in (*BIGGANS, "resnet_cifar")
        for player, parameter in (
            ("Generator", "batch_norm_fn"),
            ("Generator", "spectral_norm"),
            ("Discriminator", "layer_norm"),
            ("Discriminator", "spectral_norm"),
        )
    }
)
# Our parameter -> compare_gan's value -> ours.
VALUE_ALIASES = {
    "options.architecture": {
        f"{name}_arch": name
        for name in (
            "dcgan",
            "resnet5",
            "resnet30",
            "resnet_biggan",
            "resnet_biggan_deep",
            "resnet_cifar",
            "resnet_stl",
            "sndcgan",
        )
    }
    | {"resnet5_biggan_arch": "resnet_biggan"},
    # compare_gan's name for no attention.
    "G.attention": {"": "none"},
    "D.attention": {"": "none"},
    "dataset.name": {
        "celeb_a": "celeb_a64",
        "fashion-mnist": "fashion_mnist",
        "imagenet_64": "imagenet64",
        "imagenet_128": "imagenet128",
        "imagenet_256": "imagenet256",
        "lsun-bedroom": "lsun_bedroom",
        "celeb_a_hq_128": "celeb_a_hq",
    },
}
# Modules that may precede the names that compare_gan registers.
_MODULES = re.compile(
    r"(compare_gan\.((architectures|gans|tpu)\.)?((main|datasets|ssgan|s3gan)\.)?)?"
    r"((abstract_arch|arch_ops|eval_gan_lib|loss_lib|modular_gan|penalty_lib|"
    r"runner_lib|tpu_ops)\.)?"
)
# Parameters of compare_gan that are fixed here or follow from another parameter. A line
# with the same value is accepted and left out, any other value is refused. A string
# names the parameter whose value it must be; a tuple holds the accepted values, ours
# first.
IMPLIED = (
    {
        "eval_z.distribution_fn": "z.distribution_fn",
        "resnet_cifar.Discriminator.project_y": "ModularGAN.conditional",
        "S3GAN.project_y": "ModularGAN.conditional",
    }
    | {
        f"{network}.{parameter}": "ModularGAN.conditional"
        for network in BIGGANS
        for parameter in ("Generator.embed_y", "Discriminator.project_y")
    }
    | {f"{network}.Generator.embed_y_dim": (128,) for network in BIGGANS}
    | {
        f"{network}.Generator.{parameter}": (False,)
        for network in BIGGANS[:2]
        for parameter in ("embed_z", "embed_bias")
    }
    | {
        f"{z}.{parameter}": (value,)
        for z in ("z", "eval_z")
        for parameter, value in (("minval", -1.0), ("maxval", 1.0), ("stddev", 1.0))
    }
    | {
        f"{gan}.{parameter}": (False,)
        for gan in ("ModularGAN", "SSGAN", "S3GAN", "GPUModularGAN")
        for parameter in (
            "deprecated_split_disc_calls",
            "experimental_force_graph_unroll",
            "experimental_joint_gen_for_disc",
            "fit_label_distribution",
        )
    }
    | {
        "D.batch_norm_fn": (None,),
        "S3GAN.use_soft_labels": (False,),
        "BigGanResNetBlock.add_shortcut": (True,),
        "BigGanResNetBlock.sc_kernel_size": (1,),
        "adam.use_locking": (False,),
        "conditional_batch_norm.use_bias": (False,),
        "cross_replica_moments.group_size": (None, 0),
        "eval_imagenet_transform.crop_method": ("middle",),
        "replace_labels.file_pattern": (None,),
        "resnet_cifar.Generator.embed_y": (False,),
        "resnet_cifar.Generator.embed_z": (False,),
        "resnet_biggan_deep.Generator.experimental_fast_conv_to_rgb": (False,),
        "run_config.single_core": (False,),
        "spectral_norm.epsilon": (1e-12,),
        "standardize_batch.use_cross_replica_mean": (True, None),
        "train_imagenet_transform.crop_method": ("distorted",),
    }
)
# Defaults of the parameters that `IMPLIED` names, as gin text.
IMPLIED_DEFAULTS = {
    "z.distribution_fn": "@uniform",
    "ModularGAN.conditional": "False",
}


def our_name(name: str) -> str:
    """Our name of a configurable or parameter of compare_gan; other names unchanged."""
    name = _MODULES.sub("", name, count=1)
    return ALIASES.get(name, name)
