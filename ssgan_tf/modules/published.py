"""Published GANs: TF-Hub modules in the format of TensorFlow 1, as compare_gan's.

Such a module is a SavedModel of several graphs, chosen by tags, that share their
variables. compare_gan's have

    tags                     signature      inputs                   outputs
    {gen, bs8}, .., {}       default        z (N, dim)               generated
                                            [labels (N,)]            (N, H, W, C)
    {disc, bs8}, ..          default        images (N, H, W, C)      prediction (N, 1)
                                            [labels (N,)]

with N = 8, 16, 32, 64, for some nets 128, and for ResNets None, any batch, in graphs of
their own; the empty set is N = 64. The oldest ones have signatures `generator` and
`discriminator` with N = 64. Networks are told by the shapes of their inputs, not by the
names of tags and signatures.

How z is distributed is not in these modules.

Reference:
    - https://github.com/google/compare_gan, gans/modular_gan.py
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator

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
    """A signature of one of the graphs, seen as a network.

    Attributes:
        tags: of the graph.
        signature: str. Its name.
        inputs: our names of its inputs, `z`, `images` and `labels`, to its own.
        outputs: our names of its outputs to its own.
        row_shape: of one `z` or one image that goes in.
        image_shape: of one image that goes in or comes out.
        batch_size: int. None: any.
        num_classes: int. 0 without labels; None: there are labels, but it does not
            say of how many classes.
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

    Its `metadata` have the keys that ours have, as far as scores ask for them; weights
    and batch norm are "unknown".

    Args:
        path: the SavedModel's folder.
        strategy: on whose replicas the module runs, each with weights of its own.
        tags: which of its graphs is the generator, such as `["gen", "bs8"]`; `[]` is
            the one without tags. None: the one for any batch, or else that of the
            largest batch. Of a graph of N images per batch the last batch is filled
            up, and what is too much is dropped.
        z_distribution: "uniform" on [-1, 1) or "normal". None: uniform, which is
            compare_gan's default, with a warning. Its BigGANs (S3GAN and SS-GAN on
            ImageNet) were shown with normal z.
        num_classes: int. Of a conditional GAN whose graph does not say; else None,
            or what it says.

    Raises:
        ValueError: there is no such graph, or it is no generator; the number of
            classes is unknown or another one; the files are damaged.
    """
    meta_graphs = _read(path)
    generators = [g for g in map(_as_generator, meta_graphs) if g]
    generator = _choose_generator(path, meta_graphs, generators, tags)
    num_classes = _check_num_classes(path, generator, num_classes)
    (latent_dim,) = generator.row_shape
    latents = choose_latents(path, latent_dim, z_distribution)
    discriminators = [
        graph
        for graph in map(_as_discriminator, meta_graphs)
        if graph
        and graph.image_shape == generator.image_shape
        and (num_classes or "labels" not in graph.inputs)
    ]
    discriminator = _largest(discriminators) if discriminators else None
    _check_accumulators(path)
    function = _load_graph(path, generator, strategy)
    return LoadedModule(
        path=str(path),
        latents=latents,
        image_shape=generator.image_shape,
        num_classes=num_classes,
        metadata={
            "format": "TensorFlow 1",
            "tags": sorted(generator.tags),
            "signature": generator.signature,
            "weights": _UNKNOWN,
            "batch_norm": _UNKNOWN,
            "latents": dataclasses.asdict(latents),
            "z": "given" if z_distribution else "assumed",
            "image_shape": list(generator.image_shape),
            "num_classes": num_classes,
            "weights_sha256": _hash_variables(path),
            "config": "",
        },
        _generator=_network(generator, lambda: function),
        _discriminator=discriminator
        and _network(
            discriminator,
            # It may be larger than the generator, and few ask for it.
            functools.partial(_load_graph, path, discriminator, strategy),
        ),
        _strategy=strategy,
    )


def choose_latents(
    path: str | os.PathLike, latent_dim: int, z_distribution: str | None
) -> Latents:
    """How z is drawn: as is said, or else compare_gan's default, with a warning.

    Args:
        path: whose z it is.
        latent_dim: int.
        z_distribution: "uniform" on [-1, 1), "normal" or None.
    """
    if z_distribution is None:
        logging.warning(
            "%s does not say how z is distributed; compare_gan's default, %s, is "
            "assumed. Its S3GANs and BigGANs took z_distribution=normal.",
            path,
            DEFAULT_DISTRIBUTION,
        )
    return Latents(latent_dim, z_distribution or DEFAULT_DISTRIBUTION)


def _network(graph: _Graph, load: Callable) -> SavedFunction:
    return SavedFunction(
        load, frozenset(graph.inputs), frozenset(graph.outputs), graph.batch_size
    )


def _read(path: pathlib.Path) -> list[meta_graph_pb2.MetaGraphDef]:
    """The graphs of a SavedModel in TensorFlow 1's format."""
    try:
        content = (path / "saved_model.pb").read_bytes()
        graphs = list(saved_model_pb2.SavedModel.FromString(content).meta_graphs)
    except (OSError, DecodeError) as error:
        reason = f"saved_model.pb fails with {type(error).__name__}: {error}"
        raise _damaged(path, reason) from error
    if not graphs:
        raise _damaged(path, "saved_model.pb holds no graph")
    # What TensorFlow 2 writes; of ours `saved_model.json` is a part.
    if any(graph.HasField("object_graph_def") for graph in graphs):
        raise ValueError(
            "A module must be one that this package exported, with `saved_model.json` "
            "in it, or a published one in the format of TensorFlow 1. Received: "
            f"module={path}, which is neither, but a SavedModel of TensorFlow 2. "
            "Modules of a run lie in <model_dir>/tfhub/<step>."
        )
    return graphs


def _damaged(path: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        "A published module must be as it was published. Received: "
        f"module={path}, which cannot be used: {reason}. Download it again."
    )


def _as_generator(meta_graph: meta_graph_pb2.MetaGraphDef) -> _Graph | None:
    """The generator in a graph, if there is one."""
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
                meta_graph, name, "z", inputs, {"generated": output}, shape[1:]
            )
    return None


def _as_discriminator(meta_graph: meta_graph_pb2.MetaGraphDef) -> _Graph | None:
    """The discriminator in a graph, if there is one."""
    for name, signature in _signatures(meta_graph):
        inputs = _roles(signature.inputs)
        if set(inputs) in ({"images"}, {"images", "labels"}):
            shape = _shape(signature.inputs[inputs["images"]])
            outputs = {key: key for key in signature.outputs}
            return _graph(meta_graph, name, "images", inputs, outputs, shape[1:])
    return None


def _graph(meta_graph, name, role, inputs, outputs, image_shape) -> _Graph:
    signature = meta_graph.signature_def[name]
    batch_size, *row_shape = _shape(signature.inputs[inputs[role]])
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
    """By name, the default first: some modules have further ones."""
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
    """Our names of a signature's inputs to its own; none if one is something else."""
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
    """The width of the one-hot vectors that a graph makes of its labels."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    for node in nodes.values():
        if node.op == "OneHot" and _source(nodes, node.input[0]) == _node(labels):
            depth = nodes[_source(nodes, node.input[1])]
            if depth.op == "Const":
                return int(tf.make_ndarray(depth.attr["value"].tensor))
    return None


def _source(nodes: dict, name: str) -> str:
    """The node that a tensor comes from, as it is or as another type."""
    while nodes[_node(name)].op in ("Identity", "Cast"):
        name = nodes[_node(name)].input[0]
    return _node(name)


def _node(tensor: str) -> str:
    return tensor.partition(":")[0]


def _choose_generator(
    path: pathlib.Path,
    meta_graphs: Iterable[meta_graph_pb2.MetaGraphDef],
    generators: list[_Graph],
    tags: Collection[str] | None,
) -> _Graph:
    candidates = generators
    if tags is not None:
        candidates = [graph for graph in generators if graph.tags == frozenset(tags)]
    if candidates:
        return _largest(candidates)
    received = f"module={path}" if tags is None else f"tags={tags!r}, module={path}"
    contents = "; ".join(map(_describe, meta_graphs))
    cure = "Take another module."
    if generators:
        found = ", ".join(str(sorted(graph.tags)) for graph in generators)
        cure = f"Its generators have the tags {found}."
    raise ValueError(
        "A generator must be a graph z (batch, dim), or z and int32 labels (batch,), "
        f"-> images (batch, height, width, channels). Received: {received}, which has "
        f"the graphs {contents}. {cure}"
    )


def _largest(graphs: list[_Graph]) -> _Graph:
    """The first one that takes any batch, or else of those that take the largest."""
    return max(graphs, key=lambda graph: graph.batch_size or float("inf"))


def _describe(meta_graph) -> str:
    signatures = ", ".join(
        f"{name}({', '.join(f'{k} {_shape(signature.inputs[k])}' for k in keys)})"
        for name, signature in _signatures(meta_graph)
        for keys in [sorted(signature.inputs)]
    )
    return f"{sorted(_tags(meta_graph))} with {signatures or 'no signature'}"


def _check_num_classes(
    path: pathlib.Path, generator: _Graph, num_classes: int | None
) -> int:
    said = generator.num_classes
    received = f"Received: num_classes={num_classes}, module={path}"
    if said is None and (num_classes is None or num_classes < 1):
        raise ValueError(
            "The number of classes must be given where a graph with labels does not "
            f"say it. {received}. Pass `num_classes`, a positive integer."
        )
    if said is not None and num_classes not in (None, said):
        raise ValueError(
            "The number of classes must be that of the graph. "
            f"{received}, which has {said}. Leave `num_classes` out."
        )
    return num_classes if said is None else said


def _check_accumulators(path: pathlib.Path) -> None:
    """Refuses batch norms that were exported before they had any moments.

    compare_gan's accumulators stay empty until it scores a module, and then lie in a
    file of their own: images of the module itself are nothing but saturated.
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
            "Batch norms of a published module must have their moments. Received: "
            f"module={path}, whose accumulators are empty: {empty[0]} and {len(empty)} "
            "in all. Let compare_gan score it, and export what it then leaves in "
            "`model-with-accu.ckpt`."
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
    """The network on every device of this process that the strategy uses.

    Variables of TensorFlow 1 can neither be mirrored nor read from another device:
    each device loads a graph of its own.
    """
    with strategy.scope():
        # The default one knows no devices.
        known = tf.distribute.has_strategy()
    devices = strategy.extended.worker_devices if known else [None]
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
    # What damaged files raise is up to TensorFlow.
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error

    def call(**inputs):
        # By way of the module, with which its variables live and die.
        signature = module.signatures[graph.signature]
        outputs = signature(
            **{
                graph.inputs[name]: tf.convert_to_tensor(v)
                for name, v in inputs.items()
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
    """Makes a function of `size` rows one of any number of rows.

    The last batch is filled up with rows from the front, for which nothing is
    returned.
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
    """There would be one for each variable, for training, which nobody wants here."""

    def other(record):
        return "Unable to create a python object" not in str(record.msg)

    logger = tf.get_logger()
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)
