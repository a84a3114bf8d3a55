"""TF-Hub modules: exporting, loading and sampling.

from ssgan_tf import modules
module = modules.load("run/tfhub/1600")
images = module.sample(64, seed=0)

module.py         `LoadedModule`: samples, and outputs of the discriminator
reading.py        `load`
writing.py        `export`
metadata.py       `saved_model.json` and its checksums
published.py      modules in TensorFlow 1's format, as compare_gan published them
hub.py            folders, archives and addresses on TF-Hub
card.py           the model card
interpolation.py  paths between latents
"""

from ssgan_tf.modules.module import LoadedModule
from ssgan_tf.modules.reading import load
from ssgan_tf.modules.writing import export

__all__ = ["LoadedModule", "export", "load"]
