"""compare_gan's checkpoint or module to a module of ours.

    python export/convert_compare_gan.py --module=model.ckpt-100000 --output_dir=module

Names and shapes of the variables show what the networks are. Where they cannot, the
error says what the candidates are and which flag decides.
"""

from absl import flags

from ssgan_tf.commands.main import run
from ssgan_tf.utils import startup

_MODULE = flags.DEFINE_string(
    "module",
    None,
    "What to convert: prefix of a checkpoint, folder of checkpoints, or module in "
    "TensorFlow 1's format (folder, .tar.gz archive, TF-Hub address).",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder of the module that is written.", required=True
)
_ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "Architecture, such as resnet_cifar."
)
_BN_EPSILON = flags.DEFINE_float(
    "bn_epsilon",
    1e-5,
    "Epsilon of G's batch norms, which no checkpoint says. compare_gan's configs set "
    "1e-5; without a config it is 1e-3.",
    lower_bound=1e-12,
)
_G_ATTENTION = flags.DEFINE_string(
    "g_attention", None, "Block of G that self-attention follows, such as B4; or none."
)
_D_ATTENTION = flags.DEFINE_string("d_attention", None, "The same of D.")
_HIERARCHICAL_Z = flags.DEFINE_bool(
    "hierarchical_z", None, "Whether every block of G gets a piece of z of its own."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Height and width of the images.", lower_bound=1
)
_Z_DISTRIBUTION = flags.DEFINE_enum(
    "z_distribution",
    None,
    ["uniform", "normal"],
    "How z is drawn, which no checkpoint says; default: uniform, with a warning.",
)
_STANDING_EXAMPLES = flags.DEFINE_integer(
    "standing_examples",
    0,
    "Average the moments of G's batch norms over so many samples now; 0: those of the "
    "files.",
    lower_bound=0,
)


def main(argv):
    startup.import_tensorflow()
    from ssgan_tf import compare_gan
    from ssgan_tf.modules import writing
    from ssgan_tf.modules.metadata import check_target

    check_target(_OUTPUT_DIR.value)
    found = compare_gan.convert(
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
        found.generator,
        found.discriminator,
        found.latents,
        _OUTPUT_DIR.value,
        found.facts,
    )
    print(found.facts["config"])
    print(f"module {_OUTPUT_DIR.value}: {compare_gan.summary(found)}")


if __name__ == "__main__":
    run(main)
