"""compare_gan's files as networks of ours: its numbers, every kind of net, errors."""

import dataclasses
import functools
import json
import re
import subprocess
import sys

import calls
import numpy as np
import oracles
import pytest
import tensorflow as tf
from paths import ROOT

from ssgan_tf import compare_gan, config, layers, networks
from ssgan_tf.latents import Latents
from ssgan_tf.modules import hub, reading, writing
from ssgan_tf.modules.metadata import MOVING_MOMENTS

V1 = tf.compat.v1
SCRIPT = ROOT / "export" / "convert_compare_gan.py"
AVERAGE = "/ExponentialMovingAverage"


def save(prefix, variables, step=None) -> str:
    """Writes a checkpoint as `tf.compat.v1.train.Saver` does, without a graph."""
    values = {name: np.asarray(value) for name, value in variables.items()}
    if step is not None:
        values["global_step"] = np.int64(step)
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=len(names) * [""],
        tensors=[tf.convert_to_tensor(values[name]) for name in names],
    )
    return str(prefix)


def bookkeeping(variables) -> dict:
    """Variables that compare_gan's optimizers store beside the weights."""
    extras = {
        "global_step_disc": np.int32(3),
        "beta1_power": np.float32(0.5),
        "gen_step/cond/beta2_power": np.float32(0.9),
        "disc_step_1/beta1_power_1": np.float32(0.5),
    }
    for name, value in variables.items():
        optimizer = "g_opt" if name.startswith("generator/") else "d_opt"
        if not re.search("u_var|moving_|accu", name):
            for slot in (optimizer, f"{optimizer}_1"):
                extras[f"{name}/{slot}"] = np.full_like(value, 7)
    return extras


def their_name(path: str, scope: str = "") -> str:
    """compare_gan's name, the layers of modulated norms in their scope."""
    name = oracles.reference_name(path)
    return re.sub("/(hidden|gamma|beta)/", rf"/{scope}/\1/", name) if scope else name


KINDS = {
    "bn": layers.BatchNorm,
    "sbn": layers.SelfModulatedBatchNorm,
    "cond": layers.ConditionalBatchNorm,
}
SCOPES = {"bn": "", "sbn": "sbn", "cond": "condition"}


def their_variables(generator, discriminator, norm="bn") -> dict[str, np.ndarray]:
    return {
        their_name(v.path, SCOPES[norm]): np.array(v)
        for v in (*generator.variables, *discriminator.variables)
    }


@dataclasses.dataclass(frozen=True)
class Net:
    """Properties of both networks, named as in `networks.GeneratorSpec`."""

    architecture: str = "sndcgan"
    size: int = 8
    channels: int = 3
    widths: tuple[int, int] = (2, 2)
    norm: str = "bn"
    num_hidden: int = 5
    vectors: tuple = (None, "left")
    classes: int = 0
    projects: bool = True
    latent_dim: int = 6
    attention: tuple = ("none", "none")
    hierarchical_z: bool | None = None
    embedding: int | None = None
    rotation_classes: int = 0
    class_predictor: bool = False
    layer_norm: bool = False
    epsilon: float = 1e-5

    def build(self):
        norm = functools.partial(KINDS[self.norm], epsilon=self.epsilon)
        if self.norm != "bn":
            options = {"spectral_norm": self.vectors[0], "kernel_initializer": "ones"}
            options |= {
                "sbn": {"hidden_units": self.num_hidden},
                "cond": {"center_gain": False},
            }[self.norm]
            norm = functools.partial(norm, **options)
        g_spec, d_spec = (
            {
                "image_shape": (self.size, self.size, self.channels),
                "width": self.widths[i],
                "spectral_norm": self.vectors[i],
                "attention": self.attention[i],
                "kernel_initializer": "ones",
            }
            for i in (0, 1)
        )
        g_spec |= {
            "latent_dim": self.latent_dim,
            "num_classes": self.classes,
            "norm": norm,
            "plain_norm": functools.partial(layers.BatchNorm, epsilon=self.epsilon),
            "hierarchical_z": self.hierarchical_z,
            "class_embedding": self.embedding,
        }
        d_spec |= {
            "num_classes": self.classes if self.projects else 0,
            "rotation_classes": self.rotation_classes,
            "class_predictor": self.class_predictor,
            "layer_norm": self.layer_norm,
        }
        g_spec = networks.GeneratorSpec(**g_spec)
        d_spec = networks.DiscriminatorSpec(**d_spec)
        return (
            networks.build_generator(self.architecture, g_spec),
            networks.build_discriminator(self.architecture, d_spec),
        )

    @functools.cached_property
    def random(self):
        """Both networks, no two numbers alike; and compare_gan's variables of them."""
        nets = self.build()
        for seed, net in enumerate(nets):
            oracles.randomize(net, seed)
        return *nets, their_variables(*nets, self.norm)


TINY = Net()
CONDITIONAL = Net(norm="cond", classes=3)
SPLIT = Net(
    "resnet_cifar",
    32,
    norm="cond",
    vectors=("left", "left"),
    classes=3,
    latent_dim=8,
    hierarchical_z=True,
)
# Blocks of equal widths, and nothing that shows how z is dealt out.
BIGGAN = Net(
    "resnet_biggan",
    32,
    widths=(3, 4),
    norm="sbn",
    vectors=("auto", "auto"),
    latent_dim=12,
    attention=("B2", "B3"),
    hierarchical_z=True,
)
BIGGAN_FLAGS = {"g_attention": "B2", "d_attention": "B3", "hierarchical_z": True}


def check_same(converted, net, images=True):
    """Compares every variable, and the outputs."""
    generator, discriminator, _ = net.random
    for ours, theirs in (
        (converted.generator, generator),
        (converted.discriminator, discriminator),
    ):
        assert [v.path for v in ours.variables] == [v.path for v in theirs.variables]
        for v, other in zip(ours.variables, theirs.variables, strict=True):
            np.testing.assert_array_equal(v, other, err_msg=v.path)
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (2, net.latent_dim)).astype("float32")
    labels = np.array([2, 0], "int32") if net.classes else None
    fakes = generator(z, labels)
    np.testing.assert_array_equal(converted.generator(z, labels), fakes)
    outputs = discriminator(fakes, labels if net.projects else None)
    again = converted.discriminator(fakes, labels if net.projects else None)
    assert again.keys() == outputs.keys()
    for key, value in outputs.items():
        np.testing.assert_array_equal(again[key], value, err_msg=key)


def fails(message, path, error=ValueError, **flags):
    with pytest.raises(error, match=message) as caught:
        compare_gan.convert(path, **flags)
    return str(caught.value)


# -------------------------------------------------------------- compare_gan's numbers

PARITY = {
    "resnet_cifar_bn": {},
    "resnet_cifar_sbn": {},
    "resnet_cifar_cond": {},
    "resnet_cifar_right": {},
    "resnet_stl_48": {},
    "resnet5_32_ln": {},
    "resnet5_128": {},
    # Rounding: one unit in the last place of z moves its outputs by more.
    "resnet30_128": {"features": 1e-4, "logits": 3e-5},
    "sndcgan_32": {},
    "dcgan_64": {},
    "resnet_biggan_32_sbn": {},
    "resnet_biggan_64_cond": {},
    "resnet_biggan_128_cond": {},
    "resnet_biggan_deep_32": {},
    "resnet_biggan_deep_64": {},
    "resnet_biggan_deep_128": {},
}
QUICK = {"resnet_cifar_sbn", "sndcgan_32", "resnet_biggan_32_sbn"}
PARITY_FLAGS = {
    "resnet_biggan_32_sbn": {
        "g_attention": "B2",
        "d_attention": "B1",
        "hierarchical_z": True,
    }
}


def test_every_file_of_networks_is_converted():
    files = {
        path.stem
        for path in oracles.PARITY.glob("*.json")
        if "variables" in json.loads(path.read_text())
    }
    assert files == PARITY.keys()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in PARITY],
)
def test_compare_gans_numbers(name, tmp_path):
    settings, numbers = oracles.load_reference(name)
    weights = {
        variable: oracles.reference_weight(variable, tuple(shape))
        for variable, shape in settings["variables"].items()
    }
    path = save(tmp_path / "model.ckpt-7", weights | bookkeeping(weights), step=7)
    converted = compare_gan.convert(path, **PARITY_FLAGS.get(name, {}))
    assert converted.facts.pop("config")
    assert converted.facts == {
        "source": "model.ckpt-7",
        "step": 7,
        "weights": "raw",
        "batch_norm": MOVING_MOMENTS,
        "difference": None,
    }
    assert converted.latents.dim == settings["z_dim"]
    labels = numbers["labels"] if settings["num_classes"] else None
    images = converted.generator(numbers["z"], labels).numpy()
    outputs = dict(converted.discriminator(numbers["x"], labels))
    outputs["prediction"] = tf.sigmoid(outputs["logits"])
    outputs["features"] = outputs["features"][:, :: settings.get("features_stride", 1)]
    stride = settings.get("generated_stride", 1)
    outputs["generated_inference"] = images[:, ::stride, ::stride]
    assert len(outputs) == 4
    for key, value in outputs.items():
        np.testing.assert_allclose(
            value, numbers[key], rtol=0, atol=PARITY[name].get(key, 1e-5), err_msg=key
        )


# ------------------------------------------------------- names and shapes, and back

HIERARCHICAL = ("resnet_cifar", "resnet_biggan")
SIZES = {
    "dcgan": (32, 64),
    "sndcgan": (32, 64),
    "resnet_cifar": (32,),
    "resnet_stl": (48,),
    "resnet5": (32, 64, 128),
    "resnet30": (128,),
    "resnet_biggan": (32, 128, 256, 512),
    "resnet_biggan_deep": (32, 64, 256, 512),
}
# The small ones, of which a sample is quick.
QUICK_SIZES = {name: sizes[:1] for name, sizes in SIZES.items() if name != "resnet30"}
# At 32 pixels all blocks are equally wide.
QUICK_SIZES["resnet_biggan"] = (64,)
VECTORS = (None, "left", "right", "auto")


def draw(rng, architecture, size) -> Net:
    """A network that compare_gan may have made."""

    def one(*options):
        return options[rng.integers(len(options))]

    is_biggan, is_deep = "biggan" in architecture, architecture.endswith("deep")
    vector = one(*VECTORS)
    norm = one("bn", "sbn", "cond")
    # In other architectures only conditional norms take labels.
    classes = one(3, 10) if norm == "cond" or (is_deep and one(True, False)) else 0
    hierarchical_z = None
    if architecture in HIERARCHICAL:
        # Plain norms read no z: nothing would tell.
        hierarchical_z = one(True, False) and (is_biggan or norm != "bn")
    pieces = (size // 4).bit_length()
    width = 8 if is_biggan else 2
    projects = bool(classes) and one(True, False)
    # That of a label as it is shows only in D's projection.
    embeddings = (None, 7, 0) if projects else (None, 7)
    return Net(
        architecture,
        size,
        channels=one(1, 3),
        widths=tuple(width + int(rng.integers(4)) for _ in range(2)),
        norm=norm,
        num_hidden=one(1, 4, 32),
        vectors=(None if "dcgan" in architecture else one(None, vector), vector),
        classes=classes,
        projects=projects,
        latent_dim=pieces * int(rng.integers(2, 9)),
        attention=tuple(
            one("none", "B1", "B2", "B3") if architecture == "resnet_biggan" else None
            for _ in range(2)
        ),
        hierarchical_z=hierarchical_z,
        embedding=one(*embeddings) if is_biggan and classes else None,
        rotation_classes=one(0, 4),
        class_predictor=projects and one(True, False),
        layer_norm=not (is_deep or "dcgan" in architecture) and one(True, False),
    )


def doubts_of(net, generator, discriminator) -> dict:
    """Flags for the properties that shapes do not determine."""
    flags = {}
    if (net.size, net.channels) == (32, 1) and "dcgan" in net.architecture:
        # MNIST's images are of 28x28.
        flags["image_size"] = 32
    if net.architecture == "resnet_biggan":
        blocks = (generator.blocks, discriminator.trunk)
        for player, place, layers_ in zip("gd", net.attention, blocks, strict=True):
            widths = {
                b.name: b.conv2.units for b in layers_ if re.match(r"B\d", b.name)
            }
            if list(widths.values()).count(widths.get(place)) > 1:
                flags[f"{player}_attention"] = place
        if net.norm != "cond" or not (net.embedding != 0 or net.projects):
            flags["hierarchical_z"] = net.hierarchical_z
    return flags


def check_infer(net):
    generator, discriminator = net.build()
    variables = (*generator.variables, *discriminator.variables)
    theirs = [their_name(v.path, SCOPES[net.norm]) for v in variables]
    assert [compare_gan.path_of(name) for name in theirs] == [v.path for v in variables]
    shapes = {v.path: tuple(v.shape) for v in variables}
    flags = doubts_of(net, generator, discriminator)
    if flags:
        with pytest.raises(ValueError) as caught:
            compare_gan.infer(shapes)
        named = set(re.findall(r"--(?!no)(\w+)", str(caught.value)))
        assert named == flags.keys(), str(caught.value)
    architecture, g, d = compare_gan.infer(shapes, bn_epsilon=net.epsilon, **flags)
    assert architecture == net.architecture
    for spec, width in zip((g, d), net.widths, strict=True):
        assert spec.image_shape == (net.size, net.size, net.channels)
        assert spec.width == width
    norm = g.norm(name="norm")
    assert type(norm) is KINDS[net.norm] and norm.epsilon == net.epsilon
    assert g.plain_norm(name="norm").epsilon == net.epsilon
    assert (g.latent_dim, g.num_classes) == (net.latent_dim, net.classes)
    assert d.num_classes == (net.classes if net.projects else 0)
    assert d.rotation_classes == net.rotation_classes
    assert (d.class_predictor, d.layer_norm) == (net.class_predictor, net.layer_norm)
    # The whole of what cannot be read off a spec: the same variables.
    for build, spec, model in (
        (networks.build_generator, g, generator),
        (networks.build_discriminator, d, discriminator),
    ):
        again = {v.path: tuple(v.shape) for v in build(architecture, spec).variables}
        assert again == {v.path: tuple(v.shape) for v in model.variables}
    if net.architecture == "resnet_biggan":
        assert (g.attention, d.attention) == net.attention
    if net.architecture in HIERARCHICAL:
        assert g.hierarchical_z == net.hierarchical_z


def nets(sizes, num_per_size, seed):
    rng = np.random.default_rng(seed)
    return [
        pytest.param(draw(rng, name, size), id=f"{name}-{size}-{i}")
        for name in sizes
        for size in sizes[name]
        for i in range(num_per_size)
    ]


@pytest.mark.parametrize("net", nets(QUICK_SIZES, 1, seed=0))
def test_what_is_inferred(net):
    check_infer(net)


@pytest.mark.slow
@pytest.mark.parametrize("net", nets(SIZES, 2, seed=1))
def test_what_is_inferred_of_every_size(net):
    check_infer(net)


def test_every_variable_arrives(tmp_path):
    *_, variables = SPLIT.random
    check_same(compare_gan.convert(save(tmp_path / "model", variables)), SPLIT)


def test_a_folder_of_checkpoints_and_what_savers_leave(tmp_path):
    *_, variables = TINY.random
    with tf.Graph().as_default(), V1.Session() as session:
        for name, value in (variables | bookkeeping(variables)).items():
            V1.get_variable(name, initializer=value, use_resource=False)
        V1.train.get_or_create_global_step()
        session.run(V1.global_variables_initializer())
        saver = V1.train.Saver()
        saver.save(session, str(tmp_path / "model.ckpt"), global_step=3)
        session.run(V1.train.get_global_step().assign(5))
        saver.save(session, str(tmp_path / "model.ckpt"), global_step=5)
    converted = compare_gan.convert(tmp_path)
    assert (converted.facts["source"], converted.facts["step"]) == (tmp_path.name, 5)
    check_same(converted, TINY)
    # A copied folder, whose file `checkpoint` still names the original.
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/nowhere/m-5"\n')
    fails(f"module={tmp_path} holds neither.*prefix", tmp_path, FileNotFoundError)


# --------------------------------------------------------------------------- doubts


def test_all_doubts_at_once(tmp_path):
    path = save(tmp_path / "model", BIGGAN.random[-1])
    message = fails(f"module={path} .*resnet_biggan, which do not determine", path)
    for words in (
        "generator.*B1 or B2 or B3 has its 12 channels (--g_attention)",
        "discriminator.*B1 or B2 or B3 or B4 has its 8 channels (--d_attention)",
        "z_dim is 3 (--nohierarchical_z) or 12 (--hierarchical_z)",
    ):
        assert all(part in message for part in words.split(".*"))
    check_same(compare_gan.convert(path, **BIGGAN_FLAGS), BIGGAN)
    # The other answers are other networks of the same variables.
    others = {"hierarchical_z": False, "g_attention": "B3", "d_attention": "B1"}
    _, g, d = compare_gan.infer(shapes_of(BIGGAN), **others)
    assert (g.latent_dim, g.hierarchical_z) == (3, False)
    assert (g.attention, d.attention) == ("B3", "B1")


def shapes_of(net) -> dict:
    return {v.path: tuple(v.shape) for model in net.random[:2] for v in model.variables}


def test_the_size_of_z_resolves_how_it_is_dealt_out():
    shapes, known = shapes_of(BIGGAN), {"g_attention": "B2", "d_attention": "B3"}
    for latent_dim, expected in ((3, False), (12, True)):
        _, g, _ = compare_gan.infer(shapes, latent_dim=latent_dim, **known)
        assert (g.latent_dim, g.hierarchical_z) == (latent_dim, expected)
    # Neither size fits.
    with pytest.raises(ValueError, match="hierarchical_z"):
        compare_gan.infer(shapes, latent_dim=4, **known)
    # The signature of a module overrides compare_gan's default.
    plain = shapes_of(Net("resnet_cifar", 32, latent_dim=5))
    for latent_dim, expected in ((None, False), (5, False), (20, True)):
        _, g, _ = compare_gan.infer(plain, latent_dim=latent_dim)
        assert (g.latent_dim, g.hierarchical_z) == (latent_dim or 5, expected)


def test_labels_beside_z_that_only_a_module_tells_apart():
    deep = Net(
        "resnet_biggan_deep",
        32,
        widths=(4, 4),
        norm="cond",
        classes=3,
        projects=False,
        latent_dim=6,
        embedding=0,
    )
    conditional = shapes_of(deep)
    with pytest.raises(ValueError, match="how many of the 9 inputs of G are z"):
        compare_gan.infer(conditional)
    # As other norms have it.
    plain = {
        path.replace("gamma/kernel", "gamma"): s for path, s in conditional.items()
    }
    modulated = conditional | {"generator/B1/conv1/bn/hidden/kernel": (9, 32)}
    for shapes in (conditional, plain, modulated):
        _, g, _ = compare_gan.infer(shapes, latent_dim=6)
        assert (g.latent_dim, g.num_classes, g.class_embedding) == (6, 3, 0)
    for shapes in (plain, modulated):
        for latent_dim in (None, 9):
            _, g, _ = compare_gan.infer(shapes, latent_dim=latent_dim)
            assert (g.latent_dim, g.num_classes) == (9, 0)


def test_grey_images_of_two_sizes(tmp_path):
    """compare_gan's MNIST has the variables that images of 32x32 would have."""
    grey = Net("dcgan", 28, channels=1)
    shapes = shapes_of(grey)
    assert shapes == shapes_of(dataclasses.replace(grey, size=32))
    words = "28x28 .--image_size=28. or of 32x32 .--image_size=32."
    with pytest.raises(ValueError, match=words):
        compare_gan.infer(shapes)
    for size in (28, 32):
        _, g, _ = compare_gan.infer(shapes, image_size=size)
        assert g.image_shape == (size, size, 1)
    for size in (16, 33):
        with pytest.raises(ValueError, match=f"to 32 pixels. Received: .*={size}"):
            compare_gan.infer(shapes, image_size=size)
    # No other images of compare_gan are of 28x28, and no other nets of any size.
    _, g, _ = compare_gan.infer(shapes_of(dataclasses.replace(grey, channels=3)))
    assert g.image_shape == (32, 32, 3)
    path = save(tmp_path / "model", grey.random[-1])
    check_same(compare_gan.convert(path, image_size=28), grey)


@pytest.mark.parametrize(
    "net, flags, words",
    [
        (TINY, {"architecture": "sndcgan_arch"}, "one of dcgan, sndcgan, .*_arch'"),
        (TINY, {"g_attention": "B1"}, "'sndcgan' has no `attention`.*'B1'"),
        (TINY, {"hierarchical_z": True}, "'sndcgan' has no `hierarchical_z`"),
        (SPLIT, {"hierarchical_z": False}, "of another shape: .*B1/bn1/beta/k"),
        (BIGGAN, BIGGAN_FLAGS | {"g_attention": "B7"}, "B1, B2, B3.*'B7'"),
        (
            BIGGAN,
            BIGGAN_FLAGS | {"d_attention": "none"},
            "unused: discriminator/non_local_block/.*--d_attention",
        ),
    ],
)
def test_wrong_answers(net, flags, words, tmp_path):
    *_, variables = net.random
    message = fails(words, save(tmp_path / "model", variables), **flags)
    assert message.startswith(f"module={tmp_path}/model cannot be converted.")


# --------------------------------------------------------------- what does not fit


def without(name):
    return lambda variables: variables.pop(name)


def shaped(name, *shape):
    return lambda variables: variables.update({name: np.ones(shape, np.float32)})


CONV = "discriminator/d_conv3/kernel"


@pytest.mark.parametrize(
    "change, words",
    [
        (without(CONV), f"Received: missing: {CONV}. --arch"),
        (without("generator/g_fc1/kernel"), "sndcgan must have the variable generator"),
        (without("generator/g_dc5/kernel"), "one of dcgan, sndcgan, .*resnet_cifar"),
        (
            without(f"{CONV}/u_var"),
            "missing: discriminator/d_conv3/spectral_norm/u. --arch",
        ),
        (shaped("generator/more/bias", 2), "unused: generator/more/bias. --arch"),
        (shaped("more", 2), "unused: more. --arch"),
        (shaped("discriminator_more/kernel", 2, 2), "unused: discriminator_more/k"),
        (
            lambda v: (
                shaped("discriminator/embedding_fc/kernel", 3, 16)(v),
                shaped("discriminator/embedding_fc/kernel/u_var", 3, 1)(v),
            ),
            "G must read.*3 classes",
        ),
        # Two projections: the architecture's and S3GAN's.
        (
            lambda v: (
                shaped("discriminator_projection/kernel", 3, 16)(v),
                shaped("discriminator/embedding_fc/kernel", 3, 16)(v),
            ),
            "unused: discriminator_projection/kernel",
        ),
        (
            shaped(CONV, 3, 3, 4, 5),
            rf"another shape: {CONV} \(3, 3, 4, 5\) instead of \(3, 3, 4, 4\)",
        ),
        (shaped("generator/g_dc2/kernel", 4), "must have .*generator/g_dc2/kernel"),
        (shaped("generator/g_fc1/kernel"), "must have .*generator/g_fc1/kernel"),
        (shaped(CONV), rf"another shape: {CONV} \(\) instead"),
        (shaped("generator/g_dc5/kernel", 3, 3, 5, 2), r"1 or 3 channels.*\(8, 8, 5\)"),
        (shaped(f"{CONV}/u_var", 1, 5), "vectors must be left.*d_conv3.*mixed"),
        (
            shaped("generator/g_bn1/accu/accu_mean", 16),
            "unused: generator/g_bn1/accu/accu_mean",
        ),
        (
            shaped(f"generator/g_fc1/kernel{AVERAGE}", 6, 16),
            "averages, or none.*generator/g_bn1/beta, .*without",
        ),
    ],
)
def test_variables_that_do_not_fit(change, words, tmp_path):
    variables = dict(TINY.random[-1])
    change(variables)
    message = fails(words, save(tmp_path / "model", variables))
    assert message.startswith(f"module={tmp_path}/model cannot be converted.")


def test_many_missing_variables_are_counted(tmp_path):
    variables = TINY.random[-1]
    few = {k: v for k, v in variables.items() if "conv" not in k or "conv1/k" in k}
    missing = len(variables) - len(few)
    fails(f"d_conv2/bias, .* and {missing - 8} more", save(tmp_path / "model", few))


def test_files_that_are_no_checkpoint_of_compare_gan(tmp_path):
    *nets, variables = TINY.random
    path = save(tmp_path / "model", variables)
    fails(r"without \.index", f"{path}.index", FileNotFoundError)
    fails(f"module={tmp_path}/nothing", tmp_path / "nothing", FileNotFoundError)
    (tmp_path / "empty").mkdir()
    fails(
        f"module={tmp_path}/empty holds neither", tmp_path / "empty", FileNotFoundError
    )
    fails("a.tar.gz", tmp_path / "a.tar.gz", FileNotFoundError)
    tf.train.Checkpoint(net=nets[0]).save(str(tmp_path / "object"))
    fails("object-1 is of TensorFlow 2", tmp_path / "object-1")
    (data,) = tmp_path.glob("model.data*")
    data.write_bytes(data.read_bytes()[:-9])
    fails(r"model is damaged", path)
    (tmp_path / "model.index").write_bytes(b"nothing of the kind")
    fails("is damaged", path)


# --------------------------------------------------------- z, averages and moments


def test_how_z_is_drawn_is_said_or_assumed_with_a_warning(tmp_path, caplog):
    path = save(tmp_path / "model", TINY.random[-1])
    for asked, expected in ((None, "uniform"), ("uniform", "uniform"), ("normal",) * 2):
        caplog.clear()
        converted = compare_gan.convert(path, z_distribution=asked)
        assert converted.latents == Latents(6, expected)
        assert f"z.distribution_fn = @{expected}" in converted.facts["config"]
        assert f"z 6 {expected}" in compare_gan.summary(converted)
        assert ("does not record the distribution" in caplog.text) == (asked is None)


def test_averages_of_g(tmp_path):
    generator, discriminator, variables = TINY.random
    raw = {their_name(v.path): np.array(v) + 9 for v in generator.trainable_variables}
    averages = {name + AVERAGE: variables[name] for name in raw}
    stored = variables | raw | averages
    stored |= {f"{name}/g_opt": value for name, value in raw.items()}
    converted = compare_gan.convert(save(tmp_path / "model", stored))
    assert converted.facts["weights"] == "ema"
    # Only trainable weights of G have averages.
    check_same(converted, TINY)


def accumulated(variables, count, scope="") -> dict:
    """Sums instead of moving moments, as standardize_batch leaves them."""
    accumulated = {}
    for name, value in variables.items():
        norm, _, last = name.rpartition("/")
        if not last.startswith("moving_"):
            accumulated[scope + name] = value
            continue
        accu = f"{scope}{norm}/accu"
        accumulated[f"{accu}/accu_{last.removeprefix('moving_')}"] = count * value
        accumulated[f"{accu}/accu_counter"] = np.float32(count)
        accumulated[f"{accu}/update_accus"] = np.int32(0)
    return accumulated


def test_accumulated_moments(tmp_path):
    *_, variables = TINY.random
    # A power of two: the quotient is exact.
    path = save(tmp_path / "model", accumulated(variables, 64.0))
    converted = compare_gan.convert(path)
    assert converted.facts["batch_norm"] == "accumulated moments of 64 batches"
    check_same(converted, TINY)
    path = save(tmp_path / "none", accumulated(variables, 1e-12))
    fails(r"none have been.*--standing_examples=204800.*model-with-accu\.ckpt", path)


@pytest.mark.parametrize("count", [1e-12, 64.0])
def test_moments_that_are_accumulated_now(count, tmp_path):
    """Those that a generator with the same weights gets in an export."""
    *_, variables = TINY.random
    path = save(tmp_path / "model", accumulated(variables, count))
    converted = compare_gan.convert(
        path, z_distribution="normal", standing_examples=100
    )
    assert converted.facts["batch_norm"] == "standing moments of 128 samples"
    plain = compare_gan.convert(save(tmp_path / "plain", variables))
    writing.use_standing_moments(plain.generator, converted.latents, 100, seed=0)
    expected = oracles.values(plain.generator.variables)
    for value, other in zip(
        oracles.values(converted.generator.variables), expected, strict=True
    ):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


def test_moments_that_compare_gan_left_in_a_module(tmp_path):
    generator, _, variables = TINY.random
    folder = tmp_path / "module"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    # Weights of the one file, moments of the other; G's average in both.
    averages = {
        their_name(v.path) + AVERAGE: np.array(v) for v in generator.trainable_variables
    }
    raw = {name.removesuffix(AVERAGE): v + 9 for name, v in averages.items()}
    stored = variables | raw | averages
    save(folder / "variables" / "variables", accumulated(stored, 1e-12))
    g = {k: v for k, v in stored.items() if k.startswith("generator/")}
    save(folder / "model-with-accu.ckpt", accumulated(g, 8.0, scope="gen_module/"))
    converted = compare_gan.convert(folder)
    assert converted.facts["batch_norm"] == "accumulated moments of 8 batches"
    assert (converted.facts["weights"], converted.facts["difference"]) == ("ema", None)
    check_same(converted, TINY)


# ---------------------------------------------------------------- heads and labels


def test_s3gans_heads(tmp_path):
    net = dataclasses.replace(CONDITIONAL, rotation_classes=4, class_predictor=True)
    *_, variables = net.random
    variables = {
        name.replace("discriminator/embedding_fc", "discriminator_projection"): value
        for name, value in variables.items()
    }
    assert "discriminator_projection/kernel/u_var" in variables
    assert "discriminator_predictor/predictor_linear/bias" in variables
    assert "discriminator_rotation/score_classify/kernel/u_var" in variables
    check_same(compare_gan.convert(save(tmp_path / "model", variables)), net)


def test_a_discriminator_that_reads_no_labels(tmp_path):
    net = dataclasses.replace(CONDITIONAL, projects=False)
    *_, variables = net.random
    converted = compare_gan.convert(save(tmp_path / "model", variables))
    check_same(converted, net)


# ------------------------------------------------------------ modules with graphs


def batch_norm(inputs, name, epsilon):
    with V1.variable_scope(name):
        mean, variance, gamma, beta = (
            get(key) for key in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return (inputs - mean) / tf.sqrt(variance + epsilon) * gamma + beta


def get(name):
    """A variable of the network that is being written."""
    scope = V1.get_variable_scope().name
    value = TINY.random[-1][f"{scope}/{name}"]
    return V1.get_variable(name, initializer=value, use_resource=False)


def normalized(kernel):
    """A kernel by its largest singular value, estimated; the vector moves on."""
    value = V1.get_variable(
        "kernel/u_var",
        initializer=TINY.random[-1][f"{V1.get_variable_scope().name}/kernel/u_var"],
        use_resource=False,
    )
    matrix = tf.reshape(kernel, (-1, kernel.shape[-1]))
    v = tf.linalg.normalize(tf.matmul(matrix, value, transpose_a=True))[0]
    u = tf.linalg.normalize(tf.matmul(matrix, v))[0]
    with tf.control_dependencies([V1.assign(value, u)]):
        u = tf.identity(u)
    return kernel / tf.matmul(u, tf.matmul(matrix, v), transpose_a=True)[0, 0]


def graph_of_g(z, epsilon):
    batch = z.shape[0]
    with V1.variable_scope("generator"):
        with V1.variable_scope("g_fc1"):
            maps = tf.matmul(z, get("kernel")) + get("bias")
        maps = tf.nn.relu(batch_norm(maps, "g_bn1", epsilon))
        maps = tf.reshape(maps, (batch, 1, 1, 16))
        for i, strides in ((2, 2), (3, 2), (4, 2), (5, 1)):
            if i > 2:
                maps = tf.nn.relu(batch_norm(maps, f"g_bn{i - 1}", epsilon))
            with V1.variable_scope(f"g_dc{i}"):
                kernel = get("kernel")
                size = strides * maps.shape[1]
                maps = tf.nn.conv2d_transpose(
                    maps, kernel, (batch, size, size, kernel.shape[2]), strides
                )
                maps += get("bias")
        return (tf.tanh(maps) + 1) / 2


def graph_of_d(images, slope):
    with V1.variable_scope("discriminator"):
        maps = 2 * images - 1
        for i, strides in enumerate((1, 2, 1, 2, 1, 2, 1), 1):
            with V1.variable_scope(f"d_conv{i}"):
                kernel = normalized(get("kernel"))
                maps = tf.nn.conv2d(maps, kernel, strides, "SAME") + get("bias")
            maps = tf.maximum(maps, slope * maps)
        with V1.variable_scope("d_fc1"):
            flat = tf.reshape(maps, (images.shape[0], -1))
            return tf.sigmoid(tf.matmul(flat, normalized(get("kernel"))) + get("bias"))


def signature_of(model, epsilon, slope):
    if model == "gen":
        z = tf.zeros((8, 6))
        tensors = {"z": z}, {"generated": graph_of_g(z, epsilon)}
    else:
        images = tf.zeros((8, 8, 8, 3))
        tensors = {"images": images}, {"prediction": graph_of_d(images, slope)}
    return V1.saved_model.signature_def_utils.predict_signature_def(*tensors)


def write_module(folder, epsilon=1e-3, slope=0.1) -> str:
    """A module as TF-Hub wrote compare_gan's, of the tiny networks."""
    builder = V1.saved_model.Builder(str(folder))
    # The variables of all graphs are saved with the first one.
    with tf.Graph().as_default(), V1.Session() as session:
        for model in ("gen", "disc"):
            signature_of(model, epsilon, slope)
        session.run(V1.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, ["to be dropped"])
    for model in ("gen", "disc"):
        with tf.Graph().as_default():
            signatures = {"default": signature_of(model, epsilon, slope)}
            builder.add_meta_graph([model, "bs8"], signature_def_map=signatures)
    del builder._saved_model.meta_graphs[0]
    builder.save()
    return str(folder)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("tf1") / "module")


def test_a_module_gives_the_images_of_its_graph(module, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    converted = compare_gan.convert(module, bn_epsilon=1e-3)
    assert 0 <= converted.facts["difference"] < 1e-5
    assert "images within" in compare_gan.summary(converted)
    # The graph itself, without the package.
    graph = tf.saved_model.load(module, tags=["gen", "bs8"]).signatures["default"]
    z = np.random.default_rng(1).uniform(-1, 1, (8, 6)).astype("float32")
    expected = graph(z=tf.constant(z))["generated"]
    assert np.std(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(converted.generator(z), expected, atol=1e-5)
    graph = tf.saved_model.load(module, tags=["disc", "bs8"]).signatures["default"]
    predictions = tf.sigmoid(converted.discriminator(expected)["logits"])
    np.testing.assert_allclose(
        predictions, graph(images=expected)["prediction"], atol=1e-5
    )
    check_same(converted, dataclasses.replace(TINY, epsilon=1e-3))
    # As it was downloaded.
    hub.pack(module, tmp_path / "module.tar.gz")
    packed = compare_gan.convert(tmp_path / "module.tar.gz", bn_epsilon=1e-3)
    assert packed.facts["difference"] == converted.facts["difference"]
    assert packed.facts["source"] == "module.tar.gz"


def test_another_epsilon_is_found_out(module):
    # Where it shows: a small variance, which it is added to.
    message = fails(
        "images must be those of the module.*--bn_epsilon=0.5", module, bn_epsilon=0.5
    )
    assert re.search(r"images differ by \d\.\de-0[12]", message)


def test_another_discriminator_is_found_out(tmp_path):
    other = write_module(tmp_path / "module", slope=0.9)
    fails(
        "predictions must be those of the module.*d_attention", other, bn_epsilon=1e-3
    )


def test_a_module_of_ours_is_none_of_theirs(tmp_path):
    generator, discriminator, _ = TINY.random
    writing.export(generator, discriminator, Latents(6), tmp_path / "ours", metadata={})
    fails("a module of ours, which loads as it is", tmp_path / "ours")


# ----------------------------------------------------------------------- the config

BASE = (
    "dataset.name = 'cifar10'",
    "options.gan_class = @ModularGAN",
    "options.batch_size = 8",
    "options.training_steps = 10",
    "loss.fn = @hinge",
    "penalty.fn = @no_penalty",
    "ModularGAN.g_optimizer_fn = @adam",
)


@pytest.mark.parametrize(
    "net, flags",
    [
        (
            Net(
                "resnet_cifar",
                32,
                norm="sbn",
                latent_dim=8,
                hierarchical_z=True,
                layer_norm=True,
                vectors=(None, "right"),
            ),
            {},
        ),
        (
            Net(
                "resnet_biggan",
                32,
                widths=(3, 4),
                norm="cond",
                vectors=("auto", "auto"),
                classes=10,
                latent_dim=6,
                attention=("B2", "none"),
                hierarchical_z=False,
            ),
            {"g_attention": "B2"},
        ),
    ],
    ids=["self-modulated", "conditional"],
)
def test_the_config_makes_such_networks(net, flags, tmp_path):
    *nets, variables = net.random
    path = save(tmp_path / "model", variables)
    converted = compare_gan.convert(path, bn_epsilon=3e-4, **flags)
    file = tmp_path / "networks.gin"
    file.write_text(converted.facts["config"])
    config.parse([str(file)], BASE)
    plan = config.plan()
    gan = plan.build_gan()
    assert gan.latents == converted.latents
    for ours, theirs in zip((gan.generator, gan.discriminator), nets, strict=True):
        assert {v.path: v.shape for v in ours.variables} == {
            v.path: v.shape for v in theirs.variables
        }
    # Compare outputs too: weights do not tell where attention is.
    for ours, theirs in (
        (gan.generator, converted.generator),
        (gan.discriminator, converted.discriminator),
    ):
        ours.set_weights(theirs.get_weights())
    labels = np.array([1, 7], "int32") if net.classes else None
    z = np.random.default_rng(0).uniform(-1, 1, (2, net.latent_dim))
    images = converted.generator(z, labels)
    np.testing.assert_array_equal(gan.generator(z, labels), images)
    np.testing.assert_array_equal(
        gan.discriminator(images, labels)["logits"],
        converted.discriminator(images, labels)["logits"],
    )


# ----------------------------------------------------------------------- the script


def test_script(tmp_path):
    generator, discriminator, variables = TINY.random
    save(tmp_path / "model.ckpt-7", variables, step=7)
    done = subprocess.run(
        [
            *(sys.executable, SCRIPT, "--module=model.ckpt-7", "--output_dir=module"),
            *("--bn_epsilon=1e-5", "--z_distribution=normal"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *text, last = done.stdout.splitlines()
    assert last.startswith("module module: 8x8x3 images; z 6 normal; no classes; ")
    assert 'options.architecture = "sndcgan"' in text
    module = reading.load(tmp_path / "module")
    assert module.metadata["step"] == 7 and module.metadata["weights"] == "raw"
    assert module.latents == Latents(6, "normal")
    z = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    images = module.generate(z)
    np.testing.assert_allclose(images, generator(z), atol=1e-6)
    logits = module.discriminate(images)["logits"]
    expected = discriminator(images)["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


DOUBTS = {"--g_attention", "--d_attention", "--hierarchical_z"}


def test_each_flag_arrives_and_a_conversion_that_fails_writes_nothing(tmp_path):
    save(tmp_path / "model", BIGGAN.random[-1])
    doubts = {
        "--bn_epsilon=1e-3": DOUBTS,
        "--g_attention=B2": DOUBTS - {"--g_attention"},
        "--d_attention=B3": DOUBTS - {"--d_attention"},
        "--hierarchical_z": DOUBTS - {"--hierarchical_z"},
        "--architecture=dcgan": set(),
        "--image_size=16": set(),
    }
    lines = {flag: ["--module=model", "--output_dir=out", flag] for flag in doubts}
    for flag, result in calls.run("convert", lines, tmp_path).items():
        assert result.code == 1 and not result.changed
        assert "model cannot be converted" in result.errors
        assert set(re.findall(r"\((--(?!no)\w+)\)", result.errors)) == doubts[flag]
