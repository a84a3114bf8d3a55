"""Gin: the names that a config may bind, and the `Plan` of a parsed config.

The names are compare_gan's where they still make sense (`options.batch_size`,
`G.batch_norm_fn`, `SSGAN.rotated_batch_size`). Only the functions and dataclasses of
this package use gin: layers and train step do not depend on it.

    parser.py             parses gin text and names every wrong line
    compare_gan_names.py  compare_gan's names in ours
    checks.py             checks of values and of the results of references
    networks.py           weights, norms, G and D
    gan.py                losses, penalties, optimizers, ModularGAN, SSGAN, S3GAN
    plan.py               dataset, options, run_config: the whole run
    forgetting.py         a classifier whose task changes, Figure 3

docs/generate.py makes docs/configuration.md from the `Args:` and `Attributes:` of
these, whose entries have the form `name: legal values. Meaning.`
"""

from ssgan_tf.config.checks import ConfigError
from ssgan_tf.config.forgetting import Forgetting, forgetting
from ssgan_tf.config.parser import (
    config_dir,
    find_config,
    parse,
    parse_value,
    sweep_rows,
)
from ssgan_tf.config.plan import (
    DatasetOptions,
    Options,
    Plan,
    RunConfig,
    bindings,
    operative_config,
    plan,
)

__all__ = [
    "ConfigError",
    "DatasetOptions",
    "Forgetting",
    "Options",
    "Plan",
    "RunConfig",
    "bindings",
    "config_dir",
    "find_config",
    "forgetting",
    "operative_config",
    "parse",
    "parse_value",
    "plan",
    "sweep_rows",
]
