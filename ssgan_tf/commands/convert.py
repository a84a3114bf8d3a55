"""Converts a checkpoint or module of compare_gan into a module of this package.

    ssgan convert --module=model.ckpt-100000 --output_dir=module

The networks are recognized by the names and shapes of their variables. If several
networks fit, the error lists them and the flag that decides.
"""

from absl import flags

from ssgan_tf.utils import startup

_MODULE = flags.DEFINE_string(
    "module",
    None,
    "Prefix or folder of checkpoints, or module: folder, archive or TF-Hub address.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the new module.", required=True
)
_ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "Architecture, such as resnet_cifar."
)
_BN_EPSILON = flags.DEFINE_float(
    "bn_epsilon",
    1e-5,
    "Epsilon of G's batch norms: 1e-5 in compare_gan's configs, 1e-3 without one.",
    lower_bound=1e-12,
)
_G_ATTENTION = flags.DEFINE_string(
    "g_attention", None, "Block of G before self-attention, such as B4; or none."
)
_D_ATTENTION = flags.DEFINE_string(
    "d_attention", None, "Block of D before self-attention, such as B1; or none."
)
_HIERARCHICAL_Z = flags.DEFINE_bool(
    "hierarchical_z", None, "Whether every block of G has a piece of z of its own."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Height and width of the images.", lower_bound=1
)
_Z_DISTRIBUTION = flags.DEFINE_enum(
    "z_distribution",
    None,
    ["uniform", "normal"],
    "Distribution of z, which checkpoints do not record. Default: uniform.",
)
_STANDING_EXAMPLES = flags.DEFINE_integer(
    "standing_examples",
    0,
    "Samples to compute new moments of G's batch norms from. 0 keeps the moments.",
    lower_bound=0,
)


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf import compare_gan
    from ssgan_tf.modules import writing
    from ssgan_tf.modules.metadata import check_target

    check_target(_OUTPUT_DIR.value)
    converted = compare_gan.convert(
        _MODULE.value,
        architecture=_ARCHITECTURE.value,
        bn_epsilon=_BN_EPSILON.value,
        g_attention=_G_ATTENTION.value,
        d_attention=_D_ATTENTION.value,
        hierarchical_z=_HIERARCHICAL_Z.value,
        image_size=_IMAGE_SIZE.value,
        z_distribution=_Z_DISTRIBUTION.value,
        standing_examples=_STANDING_EXAMPLES.value,
    )
    writing.export(
        converted.generator,
        converted.discriminator,
        converted.latents,
        path=_OUTPUT_DIR.value,
        metadata=converted.facts,
    )
    print(converted.facts["config"])
    print(f"module {_OUTPUT_DIR.value}: {compare_gan.summary(converted)}")
