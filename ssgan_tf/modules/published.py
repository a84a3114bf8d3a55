"""Published GANs: TF-Hub modules in TensorFlow 1's format, such as compare_gan's.

Such a module is a SavedModel of several graphs, chosen by tags, that share their
variables. The graphs of compare_gan are

    tags                     signature      inputs                   outputs
    {gen, bs8}, .., {}       default        z (N, dim)               generated
                                            [labels (N,)]            (N, H, W, C)
    {disc, bs8}, ..          default        images (N, H, W, C)      prediction (N, 1)
                                            [labels (N,)]

with one graph for each N = 8, 16, 32, 64, for some networks 128, and for ResNets None,
any batch. The graph without tags has N = 64. The oldest modules have signatures
`generator` and `discriminator` with N = 64. Networks are recognized by the shapes of
their inputs, not by the names of tags and signatures.

These modules do not record the distribution of z.

Reference:
    - https://github.com/google/compare_gan, gans/modular_gan.py
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Collection, Iterator

import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from ssgan_tf.latents import Latents
from ssgan_tf.modules.module import LoadedModule, SavedFunction

_UNKNOWN = "unknown"
DEFAULT_DISTRIBUTION = "uniform"
_VARIABLES = os.path.join("variables", "variables")


@dataclasses.dataclass(frozen=True)
class _Graph:
    """A signature of one of the graphs, used as a network.

    Attributes:
        tags: tags of the graph.
        signature: str. Name of the signature.
        inputs: maps our names of the inputs, `z`, `images` and `labels`, to its own.
        outputs: maps our names of the outputs to its own.
        latent_dim: int. Size of z; None for a discriminator.
        image_shape: shape of one image, the input or the output.
        batch_size: int. None: any.
        num_classes: int. 0 without labels; None if the graph has labels but does not
            determine the number of classes.
    """

    tags: frozenset[str]
    signature: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    latent_dim: int | None
    image_shape: tuple[int, int, int]
    batch_size: int | None
    num_classes: int | None

    def as_function(self, load: Callable) -> SavedFunction:
        return SavedFunction(
            load, frozenset(self.inputs), frozenset(self.outputs), self.batch_size
        )


def load(
    path: pathlib.Path,
    strategy: tf.distribute.Strategy,
    *,
    tags: Collection[str] | None = None,
    z_distribution: str | None = None,
    num_classes: int | None = None,
) -> LoadedModule:
    """Loads a published module.

    Its `metadata` have the keys of an exported module's that scores need; weights and
    batch norm are "unknown".

    Args:
        path: the SavedModel's folder.
        strategy: the module runs on its replicas, each with its own weights.
        tags: tags of the generator's graph, such as `["gen", "bs8"]`; `[]` for the
            graph without tags. None: the graph for any batch, or else for the largest
            batch. For a graph of fixed batch size the last batch is padded.
        z_distribution: "uniform" on [-1, 1) or "normal". None: uniform, compare_gan's
            default, with a warning. Its BigGANs (S3GAN and SS-GAN on ImageNet) were
            sampled with normal z.
        num_classes: int. Classes of a conditional GAN, if its graph does not determine
            them.

    Raises:
        ValueError: there is no such graph, or it is not a generator; the number of
            classes is unknown or differs; the files are damaged.
    """
    meta_graphs = _read(path)
    networks = [graph for meta_graph in meta_graphs for graph in _networks(meta_graph)]
    generators = [graph for graph in networks if "z" in graph.inputs]
    candidates = [
        graph for graph in generators if tags is None or graph.tags == frozenset(tags)
    ]
    if not candidates:
        known = ", ".join(str(sorted(graph.tags)) for graph in generators) or "none"
        raise ValueError(
            "A generator must be a graph z (batch, dim), or z and int32 labels "
            "(batch,), -> images (batch, height, width, channels). Received: "
            f"tags={tags!r}, module={path}. The tags of its generators: {known}."
        )
    generator = max(candidates, key=_by_batch_size)
    num_classes = _check_num_classes(path, generator, num_classes)
    latents = choose_latents(path, generator.latent_dim, z_distribution)
    discriminators = [
        graph
        for graph in networks
        if "images" in graph.inputs
        and graph.image_shape == generator.image_shape
        and (num_classes or "labels" not in graph.inputs)
    ]
    discriminator = max(discriminators, key=_by_batch_size, default=None)
    _check_accumulators(path)
    generate = _load_graph(path, generator, strategy)
    metadata = {
        "format": "TensorFlow 1",
        "tags": sorted(generator.tags),
        "signature": generator.signature,
        "weights": _UNKNOWN,
        "batch_norm": _UNKNOWN,
        "image_shape": list(generator.image_shape),
        "weights_sha256": _hash_variables(path),
        "config": "",
        "latents": dataclasses.asdict(latents),
        "z": "given" if z_distribution else "assumed",
        "num_classes": num_classes,
    }
    return LoadedModule(
        path=str(path),
        latents=latents,
        image_shape=generator.image_shape,
        num_classes=num_classes,
        metadata=metadata,
        generator=generator.as_function(lambda: generate),
        # Loaded at the first use: it may be large, and is rarely needed.
        discriminator=discriminator
        and discriminator.as_function(
            lambda: _load_graph(path, discriminator, strategy)
        ),
        strategy=strategy,
    )


def choose_latents(
    path: str | os.PathLike, latent_dim: int, z_distribution: str | None
) -> Latents:
    """The given distribution of z, or else compare_gan's default, with a warning.

    Args:
        path: the module or checkpoint, for the warning.
        latent_dim: int.
        z_distribution: "uniform" on [-1, 1), "normal" or None.
    """
    if z_distribution is None:
        logging.warning(
            "%s does not record the distribution of z: compare_gan's default, %s, is "
            "assumed. Its S3GANs and BigGANs used z_distribution=normal.",
            path,
            DEFAULT_DISTRIBUTION,
        )
    return Latents(latent_dim, z_distribution or DEFAULT_DISTRIBUTION)


def _read(path: pathlib.Path) -> list[meta_graph_pb2.MetaGraphDef]:
    """Reads the graphs of a SavedModel in TensorFlow 1's format."""
    try:
        content = (path / "saved_model.pb").read_bytes()
        graphs = list(saved_model_pb2.SavedModel.FromString(content).meta_graphs)
    except (OSError, DecodeError) as error:
        reason = f"saved_model.pb fails with {type(error).__name__}: {error}"
        raise _damaged(path, reason) from error
    if not graphs:
        raise _damaged(path, "saved_model.pb holds no graph")
    # Only TensorFlow 2 writes this field.
    if any(graph.HasField("object_graph_def") for graph in graphs):
        raise ValueError(
            "A module must be exported by this package, with `saved_model.json` in it, "
            "or published in the format of TensorFlow 1. Received: "
            f"module={path}, another SavedModel of TensorFlow 2. The modules of a run "
            "are in <model_dir>/tfhub/<step>."
        )
    return graphs


def _damaged(path: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        f"The published module is damaged. Received: module={path}: {reason}. Download "
        "it again."
    )


def _networks(meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[_Graph]:
    """The signatures that are generators or discriminators, the default first."""
    signatures = meta_graph.signature_def
    for name in sorted(signatures, key=lambda name: (name != "default", name)):
        signature = signatures[name]
        inputs = _roles(signature.inputs)
        outputs = {key: key for key in signature.outputs}
        main = set(inputs) - {"labels"}
        if main == {"images"}:
            shape = _shape(signature.inputs[inputs["images"]])
            batch_size, latent_dim = shape[0], None
        elif main == {"z"}:
            batch_size, latent_dim = _shape(signature.inputs[inputs["z"]])
            shapes = {key: _shape(info) for key, info in signature.outputs.items()}
            images = [key for key in shapes if _is_batch_of_images(shapes[key])]
            if "generated" in images:
                images = ["generated"]
            if len(images) != 1:
                continue
            outputs, shape = {"generated": images[0]}, shapes[images[0]]
        else:
            continue
        num_classes = 0
        if "labels" in inputs:
            labels = signature.inputs[inputs["labels"]].name
            num_classes = _num_classes(meta_graph, labels)
        yield _Graph(
            tags=frozenset(meta_graph.meta_info_def.tags),
            signature=name,
            inputs=inputs,
            outputs=outputs,
            latent_dim=latent_dim,
            image_shape=shape[1:],
            batch_size=batch_size,
            num_classes=num_classes,
        )


def _shape(info: meta_graph_pb2.TensorInfo) -> tuple[int | None, ...]:
    if info.tensor_shape.unknown_rank:
        return ()
    return tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)


def _is_batch_of_images(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 4 and None not in shape[1:]


def _roles(inputs) -> dict[str, str]:
    """Maps our names of a signature's inputs to its own; empty if one is unknown."""
    roles = {}
    for name, info in inputs.items():
        shape = _shape(info)
        is_float = info.dtype == tf.float32.as_datatype_enum
        if is_float and len(shape) == 2 and shape[1] is not None:
            role = "z"
        elif is_float and _is_batch_of_images(shape):
            role = "images"
        elif info.dtype == tf.int32.as_datatype_enum and len(shape) == 1:
            role = "labels"
        else:
            return {}
        if role in roles:
            return {}
        roles[role] = name
    return roles


def _num_classes(meta_graph, labels: str) -> int | None:
    """The width of the one-hot vectors of a graph's labels."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    origin = _source(nodes, labels)
    for node in nodes.values():
        if node.op == "OneHot" and _source(nodes, node.input[0]) == origin:
            depth = _source(nodes, node.input[1])
            if depth.op == "Const":
                return int(tf.make_ndarray(depth.attr["value"].tensor))
    return None


def _source(nodes: dict, tensor: str):
    """The node that computes a tensor, before identities and casts."""
    node = nodes[tensor.partition(":")[0]]
    return _source(nodes, node.input[0]) if node.op in ("Identity", "Cast") else node


def _by_batch_size(graph: _Graph) -> float:
    """For `max`: the first graph for any batch, or else for the largest batch."""
    return graph.batch_size or float("inf")


def _check_num_classes(
    path: pathlib.Path, generator: _Graph, num_classes: int | None
) -> int:
    known = generator.num_classes
    if known is None:
        is_legal = num_classes is not None and num_classes >= 1
    else:
        is_legal = num_classes in (None, known)
    if not is_legal:
        raise ValueError(
            "`num_classes` must be that of the graph, or a positive integer if the "
            f"graph has labels and does not determine it. Received: num_classes="
            f"{num_classes}, module={path}, which has {known}."
        )
    return num_classes if known is None else known


def _check_accumulators(path: pathlib.Path) -> None:
    """Refuses batch norms that were exported without moments.

    compare_gan fills its accumulators when it scores a module, and writes them to
    another file. The images of the module itself are saturated.
    """
    try:
        variables = tf.train.load_checkpoint(str(path / _VARIABLES))
        counts = {
            name: float(variables.get_tensor(name))
            for name in variables.get_variable_to_shape_map()
            if name.endswith("accu_counter")
        }
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    empty = sorted(name for name, count in counts.items() if count < 1.0)
    if empty:
        raise ValueError(
            "The batch norms of a published module must have moments. Received: "
            f"module={path} with {len(empty)} empty accumulators, such as {empty[0]}. "
            "Score it with compare_gan, and convert the `model-with-accu.ckpt` that "
            "this writes."
        )


def _hash_variables(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for file in sorted((path / "variables").iterdir()):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _load_graph(
    path: pathlib.Path, graph: _Graph, strategy: tf.distribute.Strategy
) -> Callable[..., dict[str, tf.Tensor]]:
    """Loads the network on every device of this process that the strategy uses.

    Variables of TensorFlow 1 can neither be mirrored nor read from another device:
    each device loads its own graph.
    """
    with strategy.scope():
        # The default strategy has no devices.
        has_devices = tf.distribute.has_strategy()
    devices = strategy.extended.worker_devices if has_devices else [None]
    copies = {}
    for device in devices:
        with tf.device(device):
            copies[device] = _load_on_one_device(path, graph)
    if len(copies) == 1:
        return copies[devices[0]]

    def call(**inputs):
        replica = tf.distribute.get_replica_context()
        return copies[tf.nest.flatten(replica.devices)[0]](**inputs)

    return call


def _load_on_one_device(path: pathlib.Path, graph: _Graph) -> Callable:
    try:
        with _without_warnings_of_old_variables():
            module = tf.saved_model.load(str(path), tags=sorted(graph.tags))
    # TensorFlow may raise any of these for damaged files.
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error

    def call(**inputs):
        # Through the module, which keeps its variables alive.
        tensors = {
            graph.inputs[name]: tf.convert_to_tensor(value)
            for name, value in inputs.items()
        }
        outputs = module.signatures[graph.signature](**tensors)
        return {ours: outputs[theirs] for ours, theirs in graph.outputs.items()}

    if graph.batch_size is None:
        return call
    specs = module.signatures[graph.signature].structured_outputs
    specs = {
        ours: tf.TensorSpec.from_tensor(specs[theirs])
        for ours, theirs in graph.outputs.items()
    }
    return _in_batches_of(graph.batch_size, call, specs)


def _in_batches_of(size: int, function: Callable, specs: dict) -> Callable:
    """Makes a function of any number of rows from one of `size` rows.

    The last batch is padded with rows from the front, whose outputs are dropped.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def call(**inputs):
        num = tf.shape(next(iter(inputs.values())))[0]
        places = tf.range(-(-num // size) * size) % num
        batches = {
            name: tf.reshape(tf.gather(value, places), (-1, size, *value.shape[1:]))
            for name, value in inputs.items()
        }
        outputs = tf.map_fn(
            lambda batch: function(**batch),
            batches,
            fn_output_signature=specs,
            parallel_iterations=1,
        )
        return {
            name: tf.reshape(value, (-1, *value.shape[2:]))[:num]
            for name, value in outputs.items()
        }

    return call


@contextlib.contextmanager
def _without_warnings_of_old_variables() -> Iterator[None]:
    """Hides a warning for every variable, which concerns training only."""

    def keep(record):
        return "Unable to create a python object" not in str(record.msg)

    logger = tf.get_logger()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
