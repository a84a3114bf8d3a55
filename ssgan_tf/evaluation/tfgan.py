"""TFGAN's `eval` package, importable where TFGAN as a whole is not.

`import tensorflow_gan` fails on TensorFlow >= 2.16: two of its sub-packages need
`tf.estimator`, which is gone. `tensorflow_gan.python.eval` (Frechet and kernel
distance, classifier score, sliced Wasserstein distance, image grids) needs none of
that, but Python runs the `__init__` of every parent package before it imports a
sub-package. So the two parents stand in `sys.modules` as modules that know where
their files are and were never executed, just long enough for `eval` to be imported.
Afterwards they are taken out again: whoever writes `import tensorflow_gan` later
gets TFGAN's own behaviour, not an empty package.

This is the only module that imports TFGAN.
"""

import functools
import importlib
import importlib.util
import sys
from types import ModuleType

_PARENTS = ("tensorflow_gan", "tensorflow_gan.python")


@functools.cache
def import_eval() -> ModuleType:
    """Returns the module `tensorflow_gan.python.eval`.

    The first call takes several seconds, nearly all in TensorFlow Probability;
    later calls return the same module at once.

    Raises:
        ImportError: TFGAN, or something its `eval` package needs, is not installed.
            `sys.modules` is then as it was before the call.
    """
    if _PARENTS[0] in sys.modules:
        return importlib.import_module("tensorflow_gan.python.eval")
    before = set(sys.modules)
    try:
        for name in _PARENTS:
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise ImportError(
                    "The scores need the package tensorflow-gan. Received: no "
                    f"module named {name}. Install it: pip install tensorflow-gan"
                )
            sys.modules[name] = importlib.util.module_from_spec(spec)
        module = importlib.import_module("tensorflow_gan.python.eval")
    except BaseException:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == _PARENTS[0]:
                del sys.modules[name]
        raise
    for name in _PARENTS:
        del sys.modules[name]
    return module
