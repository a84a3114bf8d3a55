"""SS-GAN on Keras 3: self-supervised GANs with an auxiliary rotation loss.

Chen, Zhai, Ritter, Lucic, Houlsby, CVPR 2019, https://arxiv.org/abs/1811.11212

    paper                                   here
    3   rotation loss, equations 1 and 2    rotation.py
    3   two-headed discriminator, figure 1  networks/discriminator.py
    3   alternating updates, one train step gan.py
    4   adversarial losses, penalties       losses.py, penalties.py
    4   architectures                       networks/architectures.py
    4   spectral normalization              layers/spectral_norm.py
    4   sBN, conditional batch norm         layers/batch_norm.py
    4   Adam                                optimizers.py
    4   data sets; order of the data        datasets/specs.py, datasets/pipeline.py
    4   FID                                 evaluation/frechet.py
    4   protocol of a score                 evaluation/protocols.py
    4   linear probe of D, tables 3 and 4   evaluation/linear_probe.py
    4   forgetting, figure 3                experiments/forgetting.py
    4   tables and figures: runs, numbers   experiments/recipes.py, experiments/paper.py

    later work                              here
    SS-GAN-MS, SSGAN-LA                     rotation.py
    S3GAN                                   tasks.py
    differentiable augmentation             augmentation.py

    besides                                 here
    interface of further losses             tasks.py
    latents and labels                      latents.py
    exported modules                        modules/writing.py, modules/reading.py
    checkpoints, resuming                   training/checkpoints.py

The names in `__all__` are imported when they are first used.
"""

import importlib

__version__ = "0.1.0"

# Name -> the module that defines it, and name -> the module that it is.
_OBJECTS = {
    "Adam": "ssgan_tf.optimizers",
    "GAN": "ssgan_tf.gan",
    "Latents": "ssgan_tf.latents",
    "RotationTask": "ssgan_tf.rotation",
    "export": "ssgan_tf.modules",
    "load": "ssgan_tf.modules",
}
_MODULES = {
    "callbacks": "ssgan_tf.training.callbacks",
    "layers": "ssgan_tf.layers",
    "losses": "ssgan_tf.losses",
    "networks": "ssgan_tf.networks",
    "penalties": "ssgan_tf.penalties",
}

__all__ = sorted([*_OBJECTS, *_MODULES])


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _OBJECTS:
        return getattr(importlib.import_module(_OBJECTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
