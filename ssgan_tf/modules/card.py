"""The model card of a module, in Markdown."""

import re
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from ssgan_tf.utils import tables

_WEIGHTS = {"ema": "the moving average of training (EMA)", "raw": "as trained (raw)"}
_NOISE = {"uniform": "uniform on [-1, 1)", "normal": "normal, mean 0 and deviation 1"}
_DRAW = {
    "uniform": "tf.random.uniform((16, {dim}), -1.0, 1.0)",
    "normal": "tf.random.normal((16, {dim}))",
}
_MEANING = {
    "prediction": "the sigmoid of `logits`",
    "logits": "positive for images judged real",
    "features": "input of the final linear layers",
    "rotation_logits": "by quarter turns counter-clockwise, 0 to 3",
    "class_logits": "by class",
}
# Meaning of further columns of `rotation_logits`, by their number.
_MORE_ROTATIONS = {5: "; 4 is fake", 8: "; 4 to 7 are the turns of fakes"}


def render_card(facts: dict, d_outputs: dict[str, int], picture: str | None) -> str:
    """Writes the card.

    Args:
        facts: those of `saved_model.json`. `latents`, `image_shape`, `num_classes`,
            `discriminator_classes`, `fine_tunable`, `weights_sha256`, `versions` and
            `scores` are required; `step`, `dataset`, `weights`, `batch_norm`, `source`
            and `config` may be missing or empty.
        d_outputs: columns of the discriminator's outputs, by name.
        picture: file of sample images beside the card, or None.

    Returns:
        Markdown. Its Python code runs in the module's folder with TensorFlow only.
    """
    height, width, channels = facts["image_shape"]
    paragraphs = [
        f"# A GAN of {height}x{width} images",
        picture and f"![The first samples of seed 0, not selected.]({picture})",
        "A generator and its discriminator, as a TensorFlow 2 SavedModel that needs "
        "nothing but TensorFlow.",
        _table(("", ""), _facts(facts)),
        "## Use",
        _code(_use(facts)),
        "In the folder of this file; elsewhere give its path. `tensorflow_hub.load` "
        "does the same.",
        _table(("signature", "inputs", "outputs"), _signatures(facts, d_outputs)),
        "float32, images in [0, 1], any batch size b."
        + (" Labels are int32." if facts["num_classes"] else ""),
        *_fine_tuning(facts),
        "## Scores",
        *_scores(facts["scores"]),
        "## Limits",
        "Its images have the gaps and biases of its training images and may repeat "
        "some of them. Scores judge sets of images, not single ones.",
        "## Licence",
        "ssgan_tf, which made this module, is under the Apache License 2.0. The "
        "training images have their own licence.",
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _facts(facts: dict) -> list[tuple[str, object]]:
    latents, num_classes = facts["latents"], facts["num_classes"]
    weights = facts.get("weights")
    rows = {
        "data set": _without_places(facts.get("dataset") or ""),
        "source": facts.get("source"),
        "step": facts.get("step"),
        "weights of the generator": _WEIGHTS.get(weights, weights),
        "batch norm": facts.get("batch_norm"),
        "latents": f"{latents['dim']}, {_NOISE[latents['distribution']]}",
        "classes": num_classes or "none: unconditional",
        "fine-tunable": "yes" if facts["fine_tunable"] else "no",
        "versions": ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
        "SHA-256 of the weights": f"`{facts['weights_sha256']}`",
        "configuration": "in `saved_model.json`" if facts.get("config") else "",
    }
    return [row for row in rows.items() if row[1] not in (None, "")]


def _without_places(text: str) -> str:
    """Removes the paths of image folders, because cards are published."""

    def shorten(match: re.Match) -> str:
        # Imports TFDS, which a reader of modules does not need.
        from ssgan_tf import datasets

        return datasets.short_name(match[0])

    return re.sub(r"folder:.+?@\d+x\d+x\d+", shorten, text)


def _use(facts: dict) -> list[str]:
    draw = _DRAW[facts["latents"]["distribution"]].format(dim=facts["latents"]["dim"])
    classes = facts["num_classes"]
    labels = ", labels" if classes else ""
    keyword = ", labels=labels" if facts["discriminator_classes"] else ""
    lines = [
        "import tensorflow as tf",
        'module = tf.saved_model.load(".")',
        f"z = {draw}",
        f"labels = tf.random.uniform((16,), 0, {classes}, tf.int32)",
        f"images = module(z{labels})",
        f'outputs = module.signatures["discriminator"](images=images{keyword})',
    ]
    return [line for line in lines if classes or not line.startswith("labels")]


def _signatures(facts: dict, d_outputs: dict[str, int]) -> list[tuple[str, ...]]:
    size = ", ".join(map(str, facts["image_shape"]))
    g_labels = d_labels = ""
    if classes := facts["num_classes"]:
        g_labels = f"; `labels` (b,) in [0, {classes})"
    if classes := facts["discriminator_classes"]:
        d_labels = f"; `labels` (b,) in [-1, {classes}), -1 unknown"
    meanings = dict(_MEANING)
    if more := _MORE_ROTATIONS.get(d_outputs.get("rotation_logits")):
        meanings["rotation_logits"] += more
    # A user's own outputs come last.
    names = [name for name in meanings if name in d_outputs]
    names += sorted(d_outputs.keys() - meanings.keys())
    outputs = [
        f"`{name}` (b, {d_outputs[name]})"
        + (f": {meanings[name]}" if name in meanings else "")
        for name in names
    ]
    return [
        (
            "`serving_default`, `generator`",
            f"`z` (b, {facts['latents']['dim']}){g_labels}",
            f"`generated` (b, {size})",
        ),
        ("`discriminator`", f"`images` (b, {size}){d_labels}", "<br>".join(outputs)),
    ]


def _fine_tuning(facts: dict) -> list[str]:
    if not facts["fine_tunable"]:
        return []
    labels = ", labels" if facts["num_classes"] else ""
    d_labels = ", labels" if facts["discriminator_classes"] else ""
    code = f"""\
        with tf.GradientTape() as tape:
            images = module(z{labels}, training=True)
            outputs = module.discriminate(images{d_labels}, training=True)
            loss = -tf.reduce_mean(outputs["logits"])
        variables = module.trainable_variables
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        for variable, gradient in zip(variables, gradients):
            variable.assign_sub(1e-4 * gradient)
        """
    return [
        "## Fine-tuning",
        "`training=True` uses moments of the batch, updates the stored ones and "
        "advances the vectors of spectral normalization. The generator's variables "
        "come first.",
        _code(textwrap.dedent(code).splitlines()),
    ]


def _scores(scores: list[dict]) -> list[str]:
    if not scores:
        return ["No scores were known when this module was exported."]
    paragraphs = []
    for score in scores:
        rows = [
            (
                f"`{name}`",
                f"{np.mean(values):.4g}",
                f"{np.std(values):.2g}",
                len(values),
            )
            for name, values in score["values"].items()
        ]
        paragraphs += [
            _table(("metric", "mean", "deviation", "sets of fakes"), rows),
            f"Protocol: `{_without_places(score['protocol'])}`",
            f"Versions: `{score['versions']}`",
        ]
    return paragraphs


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(tables.markdown_table(header, *rows))


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])
