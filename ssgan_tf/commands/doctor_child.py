"""What `ssgan doctor` asks other processes, which may die of the answer.

python -m ssgan_tf.commands.doctor_child QUESTION ARGUMENTS...

The last line on the standard output is the answer, as JSON.
"""

import json
import sys

from ssgan_tf.utils import startup


def machine() -> dict:
    """`environment.facts()`, and how many GPUs and TPU cores TensorFlow sees."""
    startup.import_tensorflow()
    import tensorflow as tf

    from ssgan_tf.utils import environment

    listed = tf.config.list_physical_devices
    return {
        "facts": environment.facts(),
        "gpus": len(listed("GPU")),
        "tpu_cores": len(listed("TPU")),
    }


def tfgan() -> dict:
    """A Frechet distance by TFGAN and by us."""
    startup.import_tensorflow()
    import numpy as np

    from ssgan_tf.evaluation import frechet
    from ssgan_tf.evaluation.tfgan import import_eval

    draw = np.random.default_rng(0).normal
    real, fake = draw(size=(500, 8)), draw(0.5, 1.5, size=(500, 8))
    theirs = import_eval().frechet_classifier_distance_from_activations(
        real.astype("float32"), fake.astype("float32")
    )
    ours = frechet.distance(frechet.moments([real]), frechet.moments([fake]))
    return {"theirs": float(theirs), "ours": ours}


def inception(path: str) -> dict:
    """The hash of the feature network, once it has been found to be one."""
    startup.import_tensorflow()
    from ssgan_tf.evaluation import features

    return {"hash": features.load_inception(path).fingerprint}


def training(model_dir: str) -> dict:
    """All curves of a run, and the time of a step."""
    startup.import_tensorflow()
    from ssgan_tf.training import events

    found = events.read(model_dir)
    return {
        "curves": {tag: curve.values.tolist() for tag, curve in found.items()},
        "seconds_per_step": events.step_seconds(model_dir),
    }


def hub(module: str) -> dict:
    """Four samples of a module, by TF-Hub alone."""
    startup.import_tensorflow()
    import tensorflow as tf
    import tensorflow_hub

    z = tf.random.stateless_uniform((4, 128), (0, 0), -1.0, 1.0)
    images = tensorflow_hub.load(module)(z).numpy()
    return {
        "shape": images.shape,
        "min": float(images.min()),
        "max": float(images.max()),
        "deviation": float(images.std()),
    }


_ANSWERS = {each.__name__: each for each in (machine, tfgan, inception, training, hub)}

if __name__ == "__main__":
    answer = _ANSWERS[sys.argv[1]](*sys.argv[2:])
    # Whatever an import has printed ends before.
    print(f"\n{json.dumps(answer)}")
