"""Networks against compare_gan; every size; the heads of D; errors."""

import dataclasses
import functools

import numpy as np
import oracles
import pytest
import tensorflow as tf
from scipy import special

from ssgan_tf import layers, networks
from ssgan_tf.networks import resnet

CLASSES = 3
NORMS = {
    "bn": layers.BatchNorm,
    "sbn": layers.SelfModulatedBatchNorm,
    "cond": layers.ConditionalBatchNorm,
}


def generator(architecture="resnet_cifar", size=32, channels=3, **spec):
    return networks.build_generator(
        architecture,
        networks.GeneratorSpec(
            **{
                "image_shape": (size, size, channels),
                "latent_dim": 128,
                "norm": layers.BatchNorm,
            }
            | spec,
        ),
    )


def discriminator(architecture="resnet_cifar", size=32, channels=3, **spec):
    return networks.build_discriminator(
        architecture,
        networks.DiscriminatorSpec(**{"image_shape": (size, size, channels)} | spec),
    )


# For tests that build both networks. Ten latents split into five pieces.
LATENTS = {generator: {"latent_dim": 10}, discriminator: {}}


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype("float32")


# ----------------------------------------------------------- compare_gan's outputs


@dataclasses.dataclass(frozen=True)
class Reference:
    """How to build the network of compare_gan's run.

    Attributes:
        norm: a key of `NORMS`.
        g: further attributes of the generator's spec; the norms take its spectral norm.
        d: further attributes of the discriminator's spec.
        atol: what is not within 1e-5: output -> absolute tolerance.
    """

    norm: str
    g: dict = dataclasses.field(default_factory=dict)
    d: dict = dataclasses.field(default_factory=dict)
    atol: dict = dataclasses.field(default_factory=dict)

    def generator(self, settings):
        options = {}
        if self.norm != "bn":
            options["spectral_norm"] = self.g.get("spectral_norm")
            options["kernel_initializer"] = "ones"
        if self.norm == "cond":
            options["center_gain"] = False
        return generator(
            settings["architecture"],
            settings["image_shape"][0],
            latent_dim=settings["z_dim"],
            num_classes=settings["num_classes"],
            norm=functools.partial(NORMS[self.norm], **options),
            kernel_initializer="zeros",
            **self.g,
        )

    def discriminator(self, settings):
        return discriminator(
            settings["architecture"],
            settings["image_shape"][0],
            num_classes=settings["num_classes"],
            kernel_initializer="zeros",
            **self.d,
        )


LEFT = {"spectral_norm": "left"}
REFERENCES = {
    "resnet_cifar_bn": Reference("bn", d=LEFT),
    "resnet_cifar_sbn": Reference("sbn", d=LEFT),
    "resnet_cifar_cond": Reference("cond", d=LEFT),
    "resnet_cifar_right": Reference("bn", d={"spectral_norm": "right"}),
    "resnet_stl_48": Reference("bn", LEFT, LEFT),
    "resnet5_32_ln": Reference("sbn", d={"layer_norm": True}),
    "resnet5_128": Reference("bn", d=LEFT),
    # Rounding: one unit in the last place of z moves its images by 4e-5.
    "resnet30_128": Reference(
        "bn",
        d=LEFT,
        atol={"generated_training": 3e-4, "features": 1e-4, "logits": 3e-5},
    ),
    "sndcgan_32": Reference("bn", d=LEFT),
    "dcgan_64": Reference("bn", d=LEFT),
    "resnet_biggan_32_sbn": Reference(
        "sbn",
        {"width": 64, "attention": "B2"} | LEFT,
        {"width": 64, "attention": "B1"} | LEFT,
    ),
    "resnet_biggan_64_cond": Reference(
        "cond", {"width": 8} | LEFT, {"width": 8} | LEFT
    ),
    "resnet_biggan_128_cond": Reference(
        "cond",
        {"width": 16, "spectral_norm": "auto"},
        {"width": 16, "spectral_norm": "auto"},
    ),
    "resnet_biggan_deep_32": Reference("sbn", {"width": 8} | LEFT, {"width": 8} | LEFT),
    "resnet_biggan_deep_64": Reference(
        "cond", {"width": 8} | LEFT, {"width": 8} | LEFT
    ),
    # Rounding: one unit in the last place of z moves its images by 1.4e-5.
    "resnet_biggan_deep_128": Reference(
        "cond",
        {"width": 8} | LEFT,
        {"width": 8} | LEFT,
        atol={"generated_training": 5e-5},
    ),
}


def shapes_of(model, known):
    return {oracles.reference_name(v.path, known): v.shape for v in model.variables}


def vectors_of(model):
    return {v.path: np.array(v) for v in model.variables if v.name == "u"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "_128" in name else [])
        for name in REFERENCES
    ],
)
class TestParity:
    def assert_same(self, name, key, value, expected):
        atol = REFERENCES[name].atol.get(key, 1e-5)
        np.testing.assert_allclose(value, expected, rtol=0, atol=atol, err_msg=key)

    def load(self, name, player):
        """The network with compare_gan's weights, the settings, inputs, outputs."""
        settings, numbers = oracles.load_reference(name)
        model = getattr(REFERENCES[name], player)(settings)
        known = settings["variables"]
        assert shapes_of(model, known) == {
            variable: tuple(shape)
            for variable, shape in known.items()
            if variable.startswith(f"{player}/")
        }
        assert trainable(model) == settings[f"{player[0]}_trainable"]
        oracles.set_reference_weights(model, known)
        if not settings["num_classes"]:
            numbers["labels"] = None
        return model, settings, numbers

    def test_generator(self, name):
        model, settings, numbers = self.load(name, "generator")
        labels = numbers["labels"]
        stride = settings.get("generated_stride", 1)
        start = oracles.values(model.non_trainable_variables)
        for training, key in ((False, "inference"), (True, "training")):
            key = f"generated_{key}"
            images = model(numbers["z"], labels, training=training)
            assert images.shape[1:] == tuple(settings["image_shape"])
            self.assert_same(name, key, images[:, ::stride, ::stride], numbers[key])
            # Only training calls change the variables that are not trained.
            for variable, before in zip(
                model.non_trainable_variables, start, strict=True
            ):
                moved = (np.array(variable) != before).any()
                assert moved == training, variable.path

    def test_discriminator(self, name):
        model, settings, numbers = self.load(name, "discriminator")
        labels = numbers["labels"]
        stride = settings.get("features_stride", 1)
        start = vectors_of(model)
        # As in compare_gan a call advances the spectral-norm vectors before it uses
        # them. Only with training=True it stores them.
        for training in (False, True):
            outputs = model(numbers["x"], labels, training=training)
            assert set(outputs) == {"logits", "features"}
            outputs["prediction"] = tf.sigmoid(outputs["logits"])
            outputs["features"] = outputs["features"][:, ::stride]
            for key, value in outputs.items():
                self.assert_same(name, key, value, numbers[key])
            for path, vector in vectors_of(model).items():
                assert (vector != start[path]).any() == training, path


# -------------------------------------------------- compare_gan's parameter counts

# (Architecture, size, latents, classes, norm), trainable parameters of G, of D. None if
# the source has no number.
PAPER = [
    (("resnet_cifar", 32, 128, 0, "bn"), 5_849_603, 1_483_137),
    (("resnet_cifar", 32, 128, 0, "sbn"), 5_993_187, 1_483_137),
    (("resnet_cifar", 32, 128, 10, "cond"), 5_881_859, 1_484_417),
    (("resnet5", 128, 128, 0, "bn"), 13_786_115, 15_086_529),
    (("resnet5", 128, 128, 0, "sbn"), 14_019_939, 15_086_529),
    (("resnet_stl", 48, 128, 0, "bn"), 6_254_339, 25_114_817),
    (("sndcgan", 32, 128, 0, "bn"), 3_828_739, 5_860_865),
    (("dcgan", 64, 128, 0, "bn"), 5_364_739, 4_314_753),
    (("resnet_biggan", 128, 120, 1000, "cond"), 70_433_988, 87_982_370),
]
# Counts of networks built by compare_gan's code.
COMPARE_GAN = [
    (("resnet5", 32, 128, 0, "bn"), 13_786_115, 15_086_529),
    (("resnet5", 64, 128, 0, "sbn"), 14_019_939, 15_086_529),
    (("resnet30", 128, 128, 0, "bn"), 52_199_667, 53_486_449),
    (("resnet30", 128, 128, 0, "sbn"), 53_228_979, 53_486_449),
    (("sndcgan", 64, 128, 0, "bn"), 7_048_195, 5_885_441),
    (("sndcgan", 128, 128, 0, "bn"), 19_926_019, 5_983_745),
    (("resnet_biggan", 32, 120, 1000, "cond"), 9_466_115, 2_568_194),
    (("resnet_biggan", 64, 120, 1000, "cond"), 70_239_108, 87_752_258),
    (("resnet_biggan", 256, 140, 1000, "cond"), 82_235_844, 98_635_298),
    (("resnet_biggan", 512, 160, 1000, "cond"), 82_468_068, 98_801_378),
    (("resnet_biggan_deep", 32, 128, 1000, "cond"), 8_447_619, 1_012_033),
    (("resnet_biggan_deep", 64, 128, 1000, "cond"), 49_583_876, 34_289_665),
    (("resnet_biggan_deep", 128, 128, 1000, "cond"), 50_244_484, 34_590_210),
    (("resnet_biggan_deep", 256, 128, 1000, "cond"), 55_736_708, 38_247_426),
    (("resnet_biggan_deep", 512, 128, 1000, "cond"), 56_019_780, 38_301_122),
]


# Sizes of the maps before self-attention in G, in D, if not 64, 64.
ATTENTION_MAPS = {
    ("resnet_biggan", 32): [16],
    ("resnet_biggan", 64): [64, 32],
    ("resnet_biggan_deep", 32): [],
    ("resnet_biggan_deep", 64): [64],
}


@pytest.fixture
def attention_maps(monkeypatch):
    """Sizes of the maps for which self-attention is built during the test."""
    sizes, original = [], layers.SelfAttention.build

    def build(layer, shape):
        sizes.append(shape[1])
        original(layer, shape)

    monkeypatch.setattr(layers.SelfAttention, "build", build)
    return sizes


@functools.cache
def parameters(build, *args, **spec):
    return trainable(build(*args, kernel_initializer="zeros", **spec))


@pytest.mark.parametrize(
    ("key", "of_generator", "of_discriminator"),
    [
        pytest.param(*row, marks=pytest.mark.slow if row[0][1] > 128 else [])
        for row in PAPER + COMPARE_GAN
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_number_of_parameters(key, of_generator, of_discriminator, attention_maps):
    architecture, size, latent_dim, num_classes, norm = key
    d = {"num_classes": num_classes}
    g = d | {"latent_dim": latent_dim, "norm": NORMS[norm]}
    assert parameters(generator, architecture, size, **g) == of_generator
    assert parameters(discriminator, architecture, size, **d) == of_discriminator
    if "biggan" in architecture:
        maps = ATTENTION_MAPS.get((architecture, size), [64, 64])
        assert attention_maps == maps


# -------------------------------------------------------------- every legal size

# Size: features of D in units of its width.
SIZES = {
    "resnet_cifar": {32: 1},
    "resnet_stl": {48: 16},
    "resnet5": {32: 8, 64: 8, 128: 8},
    "resnet30": {128: 4 * 4 * 32},
    "resnet": {8: 1, 28: 2, 80: 8, 96: 8, 112: 8, 224: 8},
    "resnet_biggan": {32: 2, 64: 16, 128: 16, 256: 16, 512: 16},
    "resnet_biggan_deep": {32: 2, 64: 16, 128: 16, 256: 16, 512: 16},
    "sndcgan": {8: 8, 28: 4 * 4 * 8, 32: 4 * 4 * 8, 40: 5 * 5 * 8},
    "dcgan": {16: 8, 28: 2 * 2 * 8, 48: 3 * 3 * 8, 64: 4 * 4 * 8},
}
# Divisible by 4 to 8, BigGAN's numbers of pieces.
LATENT_DIM = 840


def both(architecture, size, latent_dim, norm, **spec):
    """Both networks, with random weights."""
    g = generator(architecture, size, latent_dim=latent_dim, norm=norm, **spec)
    d = discriminator(architecture, size, rotation_classes=4, **spec)
    for seed, model in enumerate((g, d)):
        oracles.randomize(model, seed)
    return g, d


def width_of(architecture):
    # Self-attention needs 8 channels, and the tables start with one unit.
    return 8 if "biggan" in architecture else 2


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        pytest.param(
            *(name, size),
            marks=pytest.mark.slow if size > 128 or name == "resnet30" else [],
        )
        for name in SIZES
        for size in SIZES[name]
        # `TestParity` has BigGANs with labels.
        if not ("biggan" in name and size in (64, 128))
    ],
)
def test_every_size(architecture, size):
    spec = dict(channels=1, num_classes=CLASSES, width=width_of(architecture))
    g, d = both(architecture, size, LATENT_DIM, norm=NORMS["cond"], **spec)
    latents = np.repeat(2 * noise(2, LATENT_DIM) - 1, [1, 2], axis=0)
    labels = tf.constant([2, 0, 1])
    images = g(latents, labels, training=True)
    assert images.shape == (3, size, size, 1)
    assert 0 <= np.min(images) < np.max(images) <= 1
    # The images depend on the latents and on the labels.
    first, second, third = images.numpy()
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(second - third).max() > 1e-3
    outputs = d(images, labels)
    num_features = SIZES[architecture][size] * width_of(architecture)
    assert outputs["features"].shape == (3, num_features)
    assert outputs["logits"].shape == (3, 1)
    assert np.std(outputs["features"], axis=0).max() > 1e-4


def test_every_architecture_is_in_the_tests():
    assert set(SIZES) == set(networks.ARCHITECTURES)
    for name, sizes in SIZES.items():
        assert all(networks.ARCHITECTURES[name].fits(size) for size in sizes)
        for size in (0, 1, 4, 7, 9, 18, 31, 33, 36, 100, 1024):
            fits = networks.ARCHITECTURES[name].fits(size)
            if name in ("sndcgan", "dcgan"):
                assert fits == (size > 7)
            else:
                assert fits == (name == "resnet" and size == 1024)


# resnet30 has the layers of resnet5, but five times the number.
@pytest.mark.parametrize("architecture", sorted(SIZES.keys() - {"resnet30"}))
def test_any_batch_and_one_image_at_a_time(architecture):
    size = min(SIZES[architecture])
    spec = dict(num_classes=CLASSES, width=width_of(architecture))
    latent_dim = 8
    g, d = both(architecture, size, latent_dim, layers.ConditionalBatchNorm, **spec)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, latent_dim)),
            tf.TensorSpec((None,), tf.int32),
        ]
    )
    def run(latents, labels):
        images = g(latents, labels)
        return images, d(images, labels)

    latents, labels = noise(3, latent_dim), np.array([1, 2, 0], "int32")
    images, outputs = run(latents, labels)
    assert images.shape == (3, size, size, 3)
    assert outputs["rotation_logits"].shape == (3, 4)
    for i in range(3):
        image, output = run(latents[i : i + 1], labels[i : i + 1])
        np.testing.assert_allclose(images[i : i + 1], image, atol=1e-5)
        for key, value in output.items():
            np.testing.assert_allclose(
                outputs[key][i : i + 1], value, rtol=1e-4, atol=1e-4, err_msg=key
            )


# ------------------------------------------------------------ attributes of a spec


def test_width_scales_every_block():
    def conv(channels_in, channels_out):
        return 9 * channels_in * channels_out + channels_out

    block, norm = 3 * conv(4, 4), 2 * 4
    assert trainable(generator(width=4)) == (
        (128 * 64 + 64) + 3 * (block + 2 * norm) + norm + conv(4, 3)
    )
    # In the first block shortcut and first convolution see the colours. The inner width
    # is that of the block's output.
    first = 2 * conv(3, 4) + conv(4, 4)
    assert trainable(discriminator(width=4)) == first + 3 * block + (4 + 1)


@pytest.mark.parametrize("vector", ["left", "right", "auto"])
def test_spectral_norm_in_g_reaches_every_kernel(vector):
    model = generator(spectral_norm=vector, width=2)
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    vectors = [v for v in model.non_trainable_variables if v.name == "u"]
    assert len(kernels) == len(vectors) == 11
    side = {"left": lambda a, b: a, "right": lambda a, b: b, "auto": min}[vector]
    for kernel, kept in zip(kernels, vectors, strict=True):
        *rest, columns = kernel.shape
        assert np.prod(kept.shape) == side(np.prod(rest), columns)


@pytest.mark.parametrize("architecture", ["resnet_biggan", "resnet_biggan_deep"])
def test_kernels_start_as_asked(architecture):
    spec = dict(num_classes=CLASSES, class_predictor=True, rotation_classes=4, width=16)
    model = discriminator(architecture, kernel_initializer="ones", **spec)
    kernels = {v.path: np.array(v) for v in model.variables if v.name == "kernel"}
    embedding = kernels.pop("discriminator/embedding_fc/kernel")
    assert all((kernel == 1).all() for kernel in kernels.values())
    # As in both BigGANs of compare_gan: variance 2 / (rows + columns).
    np.testing.assert_allclose(
        embedding.std(), np.sqrt(2 / (CLASSES + embedding.shape[1])), rtol=0.2
    )
    assert abs(embedding.mean()) < 0.1


@pytest.mark.parametrize(("block", "maps"), [("B1", [8, 32]), ("B3", [32, 8])])
def test_attention_follows_the_block_that_is_asked(block, maps, attention_maps):
    for build in (generator, discriminator):
        build("resnet_biggan", 64, width=8, attention=block, **LATENTS[build])
    assert attention_maps == maps


@pytest.mark.parametrize(
    "architecture", ["resnet_biggan", "resnet_biggan_deep", "resnet5"]
)
def test_attention_can_be_left_out(architecture, attention_maps):
    for build in (generator, discriminator):
        build(architecture, 64, width=2, attention="none", **LATENTS[build])
    assert attention_maps == []


# --------------------------------------------------------------------- heads of D


def heads(**spec):
    """A narrow discriminator with random weights, and very different images."""
    model = discriminator(width=16, spectral_norm="left", **spec)
    oracles.randomize(model, 0)
    return model, noise(6, 32, 32, 3) * np.linspace(-8, 8, 6)[:, None, None, None]


def kernel_of(layer):
    """The spectrally normalized kernel, in float64."""
    sigma, _, _ = oracles.power_iteration(layer.kernel, layer.spectral_norm.u)
    return np.float64(layer.kernel) / sigma


def linear(layer, outputs):
    return np.float64(outputs["features"]) @ kernel_of(layer) + np.array(layer.bias)


def projected(model, outputs, label_vectors):
    """Equation 3 of Miyato and Koyama."""
    embedded = np.float64(label_vectors) @ kernel_of(model.embedding)
    inner = np.sum(embedded * np.float64(outputs["features"]), axis=1, keepdims=True)
    return linear(model.logit_head, outputs) + inner


@pytest.mark.parametrize("num_outputs", [4, 5, 8])
def test_rotation_head_reads_the_features(num_outputs):
    model, images = heads(rotation_classes=num_outputs)
    outputs = model(images)
    assert outputs["rotation_logits"].shape == (6, num_outputs)
    np.testing.assert_allclose(
        outputs["rotation_logits"], linear(model.rotation_head, outputs), atol=1e-5
    )
    assert outputs["logits"].shape == (6, 1)
    if num_outputs != 8:
        np.testing.assert_allclose(
            outputs["logits"], linear(model.logit_head, outputs), atol=1e-5
        )


@pytest.mark.parametrize("scale", [1, 1000])
def test_la_logit_is_the_log_odds_of_real(scale):
    model, images = heads(rotation_classes=8)
    assert model.logit_head is None
    bias = model.rotation_head.bias
    bias.assign(scale * np.array(bias))
    outputs = model(images)
    classes = np.float64(outputs["rotation_logits"])
    # The rotations of reals come first.
    expected = special.logsumexp(classes[:, :4], axis=1) - special.logsumexp(
        classes[:, 4:], axis=1
    )
    np.testing.assert_allclose(outputs["logits"][:, 0], expected, rtol=1e-5, atol=1e-5)
    if scale == 1:
        shares = special.softmax(classes, axis=1)
        np.testing.assert_allclose(
            special.expit(expected), shares[:, :4].sum(axis=1), atol=1e-12
        )


LABELS = np.array([0, 1, 2, 2, 1, 0], "int32")


def test_projection():
    model, images = heads(num_classes=CLASSES, rotation_classes=4)
    outputs = model(images, LABELS)
    expected = projected(model, outputs, np.eye(CLASSES)[LABELS])
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    # It is a part of the logit alone.
    assert np.abs(expected - linear(model.logit_head, outputs)).min() > 1e-2
    others = model(images, (LABELS + 1) % CLASSES)
    for key in ("features", "rotation_logits"):
        np.testing.assert_array_equal(outputs[key], others[key])


UNKNOWN = np.array([0, -1, 2, -1, -1, 0], "int32")


def test_an_image_without_label_is_not_projected():
    model, images = heads(num_classes=CLASSES)
    outputs = model(images, UNKNOWN)
    vectors = np.eye(CLASSES)[UNKNOWN] * (UNKNOWN >= 0)[:, None]
    expected = projected(model, outputs, vectors)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    np.testing.assert_allclose(
        outputs["logits"][1], linear(model.logit_head, outputs)[1], atol=1e-5
    )


def predicting(soft):
    model, images = heads(
        num_classes=CLASSES, class_predictor=True, soft_predictions=soft
    )
    # Predictions that differ between images, and from the labels.
    model.class_head.kernel.assign(3 * np.array(model.class_head.kernel))
    model.class_head.bias.assign(
        -np.mean(linear(model.class_head, model(images, LABELS)), axis=0)
    )
    return model, images


@pytest.mark.parametrize("soft", [False, True])
def test_an_image_without_label_is_projected_on_its_prediction(soft):
    model, images = predicting(soft)
    outputs = model(images, UNKNOWN)
    class_logits = np.float64(outputs["class_logits"])
    np.testing.assert_allclose(
        class_logits, linear(model.class_head, outputs), atol=1e-5
    )
    likeliest = np.argmax(class_logits, axis=1)
    assert len(set(likeliest[UNKNOWN < 0])) > 1
    assert (likeliest != UNKNOWN)[UNKNOWN >= 0].any()
    predictions = (
        special.softmax(class_logits, axis=1) if soft else np.eye(CLASSES)[likeliest]
    )
    vectors = np.where(UNKNOWN[:, None] < 0, predictions, np.eye(CLASSES)[UNKNOWN])
    np.testing.assert_allclose(
        outputs["logits"], projected(model, outputs, vectors), atol=1e-5
    )


@pytest.mark.parametrize("soft", [False, True])
def test_no_gradient_passes_through_the_prediction(soft):
    model, images = predicting(soft)
    images = tf.constant(images)
    first_kernel = model.trunk[0].conv1.kernel.value
    head_kernel = model.class_head.kernel.value
    labels = tf.one_hot(UNKNOWN, CLASSES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        outputs = model(images, UNKNOWN)
        # The same logits, from constant labels.
        likely = tf.one_hot(tf.argmax(outputs["class_logits"], 1), CLASSES)
        if soft:
            likely = tf.stop_gradient(tf.nn.softmax(outputs["class_logits"]))
        embedded = model.embedding(tf.where(UNKNOWN[:, None] < 0, likely, labels))
        constant = model.logit_head(outputs["features"]) + tf.reduce_sum(
            embedded * outputs["features"], axis=1, keepdims=True
        )
    assert tape.gradient(outputs["logits"], head_kernel) is None
    np.testing.assert_allclose(
        tape.gradient(outputs["logits"], images),
        tape.gradient(constant, images),
        atol=1e-6,
    )
    # The predictor trains itself and the trunk.
    for kernel in (head_kernel, first_kernel):
        gradient = tape.gradient(outputs["class_logits"], kernel)
        assert np.abs(gradient).max() > 1e-3


# ------------------------------------------------------------------------- errors

REFUSED = [
    # Both networks.
    ({"architecture": "resnet_cifr"}, "resnet_stl.*'resnet_cifr'.*'resnet_cifar'"),
    ({"architecture": "nothing like it"}, r"architecture='nothing like it'\.$"),
    ({"image_shape": (32, 40, 3)}, r"image_shape=\(32, 40, 3\)"),
    *(({"channels": n}, rf"\(32, 32, {n}\)") for n in (0, 2, 4)),
    *(({"width": n}, f"width={n}") for n in (0, -1)),
    ({"spectral_norm": "both"}, "vector='both'"),
    *(
        ({"architecture": name, "size": size}, f"'{name}'.*size={size}.*: {others}")
        for name, size, others in (
            ("resnet_cifar", 64, "dcgan, resnet, resnet5, resnet_biggan, resnet_big"),
            ("resnet_stl", 32, "dcgan, resnet, resnet5, resnet_biggan, "),
            ("resnet5", 256, "dcgan, resnet, resnet_biggan, resnet_b"),
            ("resnet30", 48, "dcgan, resnet, resnet_stl, sndcgan"),
            ("resnet", 36, "dcgan, sndcgan"),
            ("resnet_biggan", 8, "dcgan, resnet, sndcgan"),
            ("resnet_biggan_deep", 16, "dcgan, resnet, sndcgan"),
            ("dcgan", 7, "-"),
            ("sndcgan", 4, "-"),
            ("resnet", 0, "-"),
        )
    ),
    *(
        ({"architecture": name, "attention": block, "width": 8}, f"'{block}'")
        for name, block in (
            ("resnet_biggan", "B5"),
            ("resnet_biggan_deep", "b1"),
            ("resnet_cifar", "B1"),
            ("sndcgan", "B1"),
        )
    ),
]


@pytest.mark.parametrize("build", [generator, discriminator])
@pytest.mark.parametrize(("spec", "message"), REFUSED)
def test_refuses(build, spec, message):
    with pytest.raises(ValueError, match=message):
        build(**spec, **LATENTS[build])


@pytest.mark.parametrize("build", [generator, discriminator])
def test_refuses_a_call_without_labels(build):
    norm = {"norm": layers.ConditionalBatchNorm} if build is generator else {}
    model = build(num_classes=CLASSES, width=2, **norm, **LATENTS[build])
    inputs = noise(2, 10) if build is generator else noise(2, 32, 32, 3)
    with pytest.raises(ValueError, match="labels=None"):
        model(inputs)


@pytest.mark.parametrize(
    ("build", "architecture", "spec", "message"),
    [
        (generator, "resnet_biggan_deep", {"hierarchical_z": True}, "=True"),
        (generator, "resnet_cifar", {"class_embedding": 5}, "class_embedding=5"),
        (generator, "resnet_cifar", {"num_classes": 3}, "num_classes=3"),
        *(
            (generator, name, {"size": 64, "spectral_norm": "left"}, "='left'")
            for name in ("dcgan", "sndcgan")
        ),
        *(
            (
                generator,
                "resnet_biggan",
                {"size": size, "latent_dim": 3 * n + 1},
                f"{n}",
            )
            for size, n in ((32, 4), (64, 5), (128, 6), (512, 8))
        ),
        *(
            (discriminator, name, {"size": 64, "layer_norm": True}, "layer_norm=True")
            for name in ("resnet_biggan_deep", "dcgan", "sndcgan")
        ),
        *(
            (discriminator, "resnet5", {"rotation_classes": n}, f"classes={n}")
            for n in (-1, 1, 3, 16)
        ),
        (discriminator, "resnet5", {"class_predictor": True}, "num_classes=0"),
        (
            discriminator,
            "resnet5",
            {"rotation_classes": 8, "num_classes": 3},
            "rotation_classes=8, num_classes=3",
        ),
    ],
)
def test_refuses_what_a_network_cannot_have(build, architecture, spec, message):
    with pytest.raises(ValueError, match=message):
        build(architecture, **spec)


def test_off_is_allowed_for_an_option_that_an_architecture_lacks():
    spec = dict(width=4, kernel_initializer="zeros")
    generator("resnet_biggan_deep", hierarchical_z=False, **spec)
    generator("resnet_cifar", class_embedding=0, **spec)


@pytest.mark.parametrize("hierarchical", [True, False, None])
@pytest.mark.parametrize("architecture", ["resnet_cifar", "resnet_biggan"])
def test_what_the_blocks_get_of_z(architecture, hierarchical):
    model = generator(
        architecture,
        width=2,
        latent_dim=8,
        num_classes=CLASSES,
        norm=layers.ConditionalBatchNorm,
        hierarchical_z=hierarchical,
        class_embedding=0,
    )
    if hierarchical is None:
        hierarchical = architecture == "resnet_biggan"
    assert model.fc_noise.kernel.shape[0] == (2 if hierarchical else 8)
    # The piece of z comes before the one-hot label.
    rows = CLASSES + 2 * hierarchical
    assert model.blocks[1].norm2.gamma.kernel.shape[0] == rows
    if architecture == "resnet_cifar":
        # The whole label, as in compare_gan.
        assert model.final_norm.gamma.kernel.shape[0] == CLASSES


@pytest.mark.parametrize("architecture", ["resnet_biggan", "resnet_biggan_deep"])
@pytest.mark.parametrize(("asked", "size"), [(None, 128), (7, 7), (0, None)])
def test_class_embedding(architecture, asked, size):
    model = generator(
        architecture,
        width=4,
        latent_dim=4,
        num_classes=CLASSES,
        norm=layers.ConditionalBatchNorm,
        class_embedding=asked,
    )
    shapes = {v.path: tuple(v.shape) for v in model.variables}
    assert shapes.get("generator/embed_y/kernel") == (size and (CLASSES, size))
    first = f"generator/B1/{'conv1/bn' if 'deep' in architecture else 'bn1'}"
    # Joined with a quarter of z, or with all of it.
    piece = 4 if "deep" in architecture else 1
    assert shapes[f"{first}/gamma/kernel"][0] == piece + (size or CLASSES)


@pytest.mark.parametrize(
    "architecture",
    [key for key, row in networks.ARCHITECTURES.items() if "layer_norm" in row.options],
)
def test_layer_norm_takes_two_in_every_block(architecture):
    model = discriminator(
        architecture, min(SIZES[architecture]), width=8, layer_norm=True
    )
    norms = {v.path.split("/")[-2:-1][0] for v in model.variables if v.name == "gamma"}
    count = sum(v.name == "gamma" for v in model.variables)
    blocks = [b for b in model.trunk if isinstance(b, resnet.ResNetBlock)]
    assert norms == {"ln1", "ln2"} and count == 2 * len(blocks) > 0
