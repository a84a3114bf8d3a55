"""The model card of a module: its facts, as Markdown for people."""

import re
import textwrap

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
    "logits": "positive of images taken for real",
    "features": "input of the final linear layers",
    "rotation_logits": "by quarter turns counter-clockwise, 0 to 3",
    "class_logits": "by class",
}
# Of further columns of `rotation_logits`, by their number.
_MORE_ROTATIONS = {5: "; 4 is fake", 8: "; 4 to 7 are the turns of fakes"}


def render_card(facts: dict, d_outputs: dict[str, int], picture: str | None) -> str:
    """Writes the card.

    Args:
        facts: of `saved_model.json`. What the exporter says itself (`latents`,
            `image_shape`, `num_classes`, `discriminator_classes`, `fine_tunable`,
            `weights_sha256`, `versions`, `scores`) must be there; `step`, `dataset`,
            `weights`, `batch_norm`, `source` and `config` are left out where they are
            missing or empty.
        d_outputs: columns of the discriminator's outputs, by name.
        picture: file of sample images beside the card, or None.

    Returns:
        Markdown. Its Python code runs in the module's folder with TensorFlow alone.
    """
    height, width, channels = facts["image_shape"]
    lines = [f"# A GAN of {height}x{width} images", ""]
    if picture:
        lines += [f"![Samples, not chosen: the first of seed 0.]({picture})", ""]
    lines += [
        "A generator and its discriminator, as a TensorFlow 2 SavedModel that needs "
        "nothing but TensorFlow.",
        "",
        *tables.markdown_table(("", ""), *_facts(facts)),
        "",
        "## Use",
        "",
        *_code(_use(facts)),
        "",
        "In the folder of this file; elsewhere give its path. `tensorflow_hub.load` "
        "does the same.",
        "",
        *tables.markdown_table(
            ("signature", "inputs", "outputs"), *_signatures(facts, d_outputs)
        ),
        "",
        "float32, images in [0, 1], any batch size b."
        + (" Labels are int32." if facts["num_classes"] else ""),
        "",
        *_fine_tuning(facts),
        "## Scores",
        "",
        *_scores(facts["scores"]),
        "",
        "## Limits",
        "",
        "It shows what its training images showed, gaps and prejudices included, and "
        "may repeat some of them; scores are of whole sets of images, not of one.",
        "",
        "## Licence",
        "",
        "The code that made this module, ssgan_tf, is under the Apache License 2.0. "
        "That says nothing of the images that it was trained on, whose licence is "
        "their own.",
    ]
    return "\n".join(lines) + "\n"


def _facts(facts: dict) -> list[tuple[str, str]]:
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
    return [
        (name, str(value)) for name, value in rows.items() if value not in (None, "")
    ]


def _without_places(text: str) -> str:
    """Folders of images not with where they lie, because cards are published."""

    def shorten(found: re.Match) -> str:
        # Imports TFDS, which nobody needs who only reads modules.
        from ssgan_tf import datasets

        return datasets.short_name(found[0])

    return re.sub(r"folder:.+?@\d+x\d+x\d+", shorten, text)


def _use(facts: dict) -> list[str]:
    draw = _DRAW[facts["latents"]["distribution"]].format(dim=facts["latents"]["dim"])
    lines = ["import tensorflow as tf", 'module = tf.saved_model.load(".")']
    lines.append(f"z = {draw}")
    labels = ""
    if classes := facts["num_classes"]:
        lines.append(f"labels = tf.random.uniform((16,), 0, {classes}, tf.int32)")
        labels = ", labels"
    keyword = ", labels=labels" if facts["discriminator_classes"] else ""
    lines.append(f"images = module(z{labels})")
    lines.append(
        f'outputs = module.signatures["discriminator"](images=images{keyword})'
    )
    return lines


def _signatures(facts: dict, d_outputs: dict[str, int]) -> list[tuple[str, ...]]:
    size = ", ".join(map(str, facts["image_shape"]))
    g_labels = d_labels = ""
    if classes := facts["num_classes"]:
        g_labels = f"; `labels` (b,) in [0, {classes})"
    if classes := facts["discriminator_classes"]:
        d_labels = f"; `labels` (b,) in [-1, {classes}), -1 unknown"
    outputs = []
    # Those of a user's own come last.
    for name in dict.fromkeys([*_MEANING, *sorted(d_outputs)]):
        if name not in d_outputs:
            continue
        columns = d_outputs[name]
        meaning = f": {_MEANING[name]}" if name in _MEANING else ""
        if name == "rotation_logits":
            meaning += _MORE_ROTATIONS.get(columns, "")
        outputs.append(f"`{name}` (b, {columns}){meaning}")
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
        "",
        "`training=True` takes moments of the batch, updates the stored ones and "
        "advances the vectors of spectral normalization. The generator's variables "
        "come first.",
        "",
        *_code(textwrap.dedent(code).splitlines()),
        "",
    ]


def _scores(scores: list[dict]) -> list[str]:
    if not scores:
        return ["None were known when this module was exported."]
    lines = []
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
        header = ("metric", "mean", "deviation", "sets of fakes")
        protocol = _without_places(score["protocol"])
        lines += [*tables.markdown_table(header, *rows), "", f"Protocol: `{protocol}`"]
        lines += ["", f"Versions: `{score['versions']}`", ""]
    return lines[:-1]


def _code(lines: list[str]) -> list[str]:
    return ["```python", *lines, "```"]
