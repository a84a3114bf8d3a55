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
import functools
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
        row_shape: shape of one input `z` or image.
        image_shape: shape of one input or output image.
        batch_size: int. None: any.
        num_classes: int. 0 without labels; None if the graph has labels but does not
            determine the number of classes.
    """

    tags: frozenset[str]
    signature: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    row_shape: tuple[int, ...]
    image_shape: tuple[int, int, int]
    batch_size: int | None
    num_classes: int | None


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
    generator = _choose_generator(path, meta_graphs, tags)
    num_classes = _check_num_classes(path, generator, num_classes)
    (latent_dim,) = generator.row_shape
    latents = choose_latents(path, latent_dim, z_distribution)
    discriminator = _choose_discriminator(
        meta_graphs, generator.image_shape, num_classes
    )
    _check_accumulators(path)
    function = _load_graph(path, generator, strategy)
    return LoadedModule(
        path=str(path),
        latents=latents,
        image_shape=generator.image_shape,
        num_classes=num_classes,
        metadata=_metadata(
            path,
            generator,
            latents=dataclasses.asdict(latents),
            z="given" if z_distribution else "assumed",
            num_classes=num_classes,
        ),
        generator=_network(generator, lambda: function),
        # Loaded at the first use: it may be large, and is rarely needed.
        discriminator=discriminator
        and _network(
            discriminator,
            functools.partial(_load_graph, path, discriminator, strategy),
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


def _metadata(path: pathlib.Path, generator: _Graph, **facts) -> dict:
    return {
        "format": "TensorFlow 1",
        "tags": sorted(generator.tags),
        "signature": generator.signature,
        "weights": _UNKNOWN,
        "batch_norm": _UNKNOWN,
        "image_shape": list(generator.image_shape),
        "weights_sha256": _hash_variables(path),
        "config": "",
        **facts,
    }


def _network(graph: _Graph, load: Callable) -> SavedFunction:
    return SavedFunction(
        load, frozenset(graph.inputs), frozenset(graph.outputs), graph.batch_size
    )


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


def _as_generator(meta_graph: meta_graph_pb2.MetaGraphDef) -> _Graph | None:
    """Returns the generator of a graph, if it has one."""
    for name, signature in _signatures(meta_graph):
        inputs = _roles(signature.inputs)
        images = {
            key: shape
            for key, info in signature.outputs.items()
            if _is_batch_of_images(shape := _shape(info))
        }
        if len(images) > 1 and "generated" in images:
            images = {"generated": images["generated"]}
        if set(inputs) in ({"z"}, {"z", "labels"}) and len(images) == 1:
            ((output, shape),) = images.items()
            return _graph(
                meta_graph,
                name,
                first_input="z",
                inputs=inputs,
                outputs={"generated": output},
                image_shape=shape[1:],
            )
    return None


def _as_discriminator(meta_graph: meta_graph_pb2.MetaGraphDef) -> _Graph | None:
    """Returns the discriminator of a graph, if it has one."""
    for name, signature in _signatures(meta_graph):
        inputs = _roles(signature.inputs)
        if set(inputs) in ({"images"}, {"images", "labels"}):
            shape = _shape(signature.inputs[inputs["images"]])
            return _graph(
                meta_graph,
                name,
                first_input="images",
                inputs=inputs,
                outputs={key: key for key in signature.outputs},
                image_shape=shape[1:],
            )
    return None


def _graph(
    meta_graph, name: str, *, first_input: str, inputs: dict, outputs: dict, image_shape
) -> _Graph:
    signature = meta_graph.signature_def[name]
    batch_size, *row_shape = _shape(signature.inputs[inputs[first_input]])
    classes = 0
    if "labels" in inputs:
        classes = _num_classes(meta_graph, signature.inputs[inputs["labels"]].name)
    return _Graph(
        tags=_tags(meta_graph),
        signature=name,
        inputs=inputs,
        outputs=outputs,
        row_shape=tuple(row_shape),
        image_shape=tuple(image_shape),
        batch_size=batch_size,
        num_classes=classes,
    )


def _signatures(meta_graph) -> Iterator[tuple[str, meta_graph_pb2.SignatureDef]]:
    """Signatures by name, the default first: some modules have several."""
    names = sorted(meta_graph.signature_def, key=lambda name: (name != "default", name))
    return ((name, meta_graph.signature_def[name]) for name in names)


def _tags(meta_graph) -> frozenset[str]:
    return frozenset(meta_graph.meta_info_def.tags)


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
    for node in nodes.values():
        if node.op == "OneHot" and _source(nodes, node.input[0]) == _node(labels):
            depth = nodes[_source(nodes, node.input[1])]
            if depth.op == "Const":
                return int(tf.make_ndarray(depth.attr["value"].tensor))
    return None


def _source(nodes: dict, name: str) -> str:
    """The node that computes a tensor, before identities and casts."""
    while nodes[_node(name)].op in ("Identity", "Cast"):
        name = nodes[_node(name)].input[0]
    return _node(name)


def _node(tensor: str) -> str:
    return tensor.partition(":")[0]


def _choose_generator(
    path: pathlib.Path,
    meta_graphs: list[meta_graph_pb2.MetaGraphDef],
    tags: Collection[str] | None,
) -> _Graph:
    generators = [graph for graph in map(_as_generator, meta_graphs) if graph]
    candidates = generators
    if tags is not None:
        candidates = [graph for graph in generators if graph.tags == frozenset(tags)]
    if candidates:
        return _largest(candidates)
    received = f"module={path}" if tags is None else f"tags={tags!r}, module={path}"
    contents = "; ".join(map(_describe, meta_graphs))
    cure = "Use another module."
    if generators:
        known = ", ".join(str(sorted(graph.tags)) for graph in generators)
        cure = f"Its generators have the tags {known}."
    raise ValueError(
        "A generator must be a graph z (batch, dim), or z and int32 labels (batch,), "
        f"-> images (batch, height, width, channels). Received: {received}, which has "
        f"the graphs {contents}. {cure}"
    )


def _choose_discriminator(
    meta_graphs: list[meta_graph_pb2.MetaGraphDef],
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> _Graph | None:
    """The largest discriminator of such images, if there is one."""
    candidates = [
        graph
        for graph in map(_as_discriminator, meta_graphs)
        if graph
        and graph.image_shape == image_shape
        and (num_classes or "labels" not in graph.inputs)
    ]
    return _largest(candidates) if candidates else None


def _largest(graphs: list[_Graph]) -> _Graph:
    """The first graph for any batch, or else for the largest batch."""
    return max(graphs, key=lambda graph: graph.batch_size or float("inf"))


def _describe(meta_graph) -> str:
    signatures = ", ".join(
        f"{name}({', '.join(f'{key} {_shape(signature.inputs[key])}' for key in keys)})"
        for name, signature in _signatures(meta_graph)
        for keys in [sorted(signature.inputs)]
    )
    return f"{sorted(_tags(meta_graph))} with {signatures or 'no signature'}"


def _check_num_classes(
    path: pathlib.Path, generator: _Graph, num_classes: int | None
) -> int:
    known = generator.num_classes
    received = f"Received: num_classes={num_classes}, module={path}"
    if known is None and (num_classes is None or num_classes < 1):
        raise ValueError(
            "The graph has labels but does not determine the number of classes. "
            f"{received}. Pass `num_classes`, a positive integer."
        )
    if known is not None and num_classes not in (None, known):
        raise ValueError(
            "The number of classes must be that of the graph. "
            f"{received}, which has {known}. Omit `num_classes`."
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
        signature = module.signatures[graph.signature]
        outputs = signature(
            **{
                graph.inputs[name]: tf.convert_to_tensor(value)
                for name, value in inputs.items()
            }
        )
        return {ours: outputs[theirs] for ours, theirs in graph.outputs.items()}

    if graph.batch_size is None:
        return call
    specs = module.signatures[graph.signature].structured_outputs
    return _in_batches_of(
        graph.batch_size,
        call,
        {
            ours: tf.TensorSpec(specs[theirs].shape, specs[theirs].dtype)
            for ours, theirs in graph.outputs.items()
        },
    )


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
