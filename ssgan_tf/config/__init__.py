"""Gin: the names a config may bind, and what a parsed config says.

The names are compare_gan's where they still make sense (`options.batch_size`,
`G.batch_norm_fn`, `SSGAN.rotated_batch_size`). Gin sits on the factories of this
package and on nothing else: the layers and the train step know nothing of it.

    parser.py      gin text, compare_gan's names translated, every wrong line named
    checks.py      checks of values, and of what a reference makes
    networks.py    weights, norms, G and D
    training.py    losses, penalties, optimizers, ModularGAN, SSGAN, S3GAN
    experiment.py  dataset, options, run_config: the whole experiment
    forgetting.py  a classifier whose task changes, Figure 3

docs/configuration.md is made from the `Args:` of these factories, each of the form
`name: legal values. Meaning.`, by docs/generate.py.
"""

from ssgan_tf.config.checks import ConfigError
from ssgan_tf.config.forgetting import Forgetting, forgetting
from ssgan_tf.config.parser import config_dir, find_config, parse, sweep_rows
from ssgan_tf.config.plan import Plan, RunConfig, bindings, operative_config, plan

__all__ = [
    "ConfigError",
    "Plan",
    "Forgetting",
    "RunConfig",
    "bindings",
    "config_dir",
    "plan",
    "find_config",
    "forgetting",
    "operative_config",
    "parse",
    "sweep_rows",
]
