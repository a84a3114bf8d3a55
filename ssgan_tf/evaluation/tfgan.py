"""TFGAN's `eval` package, importable where TFGAN as a whole is not.

`import tensorflow_gan` fails on TensorFlow >= 2.16: two of its sub-packages need
`tf.estimator`, which is gone. `tensorflow_gan.python.eval` does not need it, but Python
runs the `__init__` of every parent package before it imports a sub-package. So the two
parents are put into `sys.modules` without being executed until `eval` is imported, and
are removed afterwards: a later `import tensorflow_gan` behaves as without this file.

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
        ImportError: TFGAN, or a dependency of its `eval` package, is not installed.
            `sys.modules` is left as it was.
    """
    if _PARENTS[0] in sys.modules:
        return importlib.import_module("tensorflow_gan.python.eval")
    before = set(sys.modules)
    try:
        for name in _PARENTS:
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise ImportError(
                    f"The scores need TFGAN, but no module is named {name}. Install "
                    "it: pip install tensorflow-gan"
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
