"""The model card: its text for all facts."""

import re

import pytest

from ssgan_tf.modules.card import render_card

# Facts that the exporter writes for every module.
LEAST = {
    "latents": {"dim": 7, "distribution": "uniform"},
    "image_shape": [8, 16, 3],
    "num_classes": 0,
    "discriminator_classes": 0,
    "fine_tunable": False,
    "weights_sha256": "abc",
    "versions": {"tensorflow": "2.21.0", "keras": "3.15.1"},
    "scores": [],
}
MORE = {
    "step": 0,
    "dataset": "digits32",
    "source": "https://example.org/old",
    "weights": "ema",
    "batch_norm": "moving moments",
    "config": "options.z_dim = 7",
}
ROWS = {
    "step": ("step", "0"),
    "dataset": ("data set", "digits32"),
    "source": ("source", "https://example.org/old"),
    "weights": ("weights of the generator", "the moving average of training (EMA)"),
    "batch_norm": ("batch norm", "moving moments"),
    "config": ("configuration", "in `saved_model.json`"),
}
D_OUTPUTS = {"mine": 2, "logits": 1, "prediction": 1}


def cells(card) -> list[list[str]]:
    rows = [line for line in card.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def facts_of(card) -> dict[str, str]:
    return dict(row for row in cells(card) if len(row) == 2)


def code(card) -> str:
    return "".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))


def test_paths_of_image_folders_are_removed():
    name = "folder:/home/me/cats@8x8x3"
    score = {
        "values": {"kid": [2.0]},
        "protocol": f"data={name}; split=test",
        "versions": "",
    }
    facts = LEAST | {"dataset": name, "scores": [score]}
    card = render_card(facts, {}, None)
    assert facts_of(card)["data set"] == "cats_8x8x3"
    assert "Protocol: `data=cats_8x8x3; split=test`" in card
    assert "/home" not in card


def test_facts_that_are_missing_are_left_out():
    facts = facts_of(render_card(LEAST, {}, None))
    assert not set(facts) & set(dict(ROWS.values()))
    assert facts["latents"] == "7, uniform on [-1, 1)"
    assert facts["classes"] == "none: unconditional" and facts["fine-tunable"] == "no"
    assert facts["versions"] == "tensorflow 2.21.0, keras 3.15.1"
    assert facts["SHA-256 of the weights"] == "`abc`"
    # Empty is missing too.
    empty = LEAST | dict.fromkeys(MORE, "") | {"step": None}
    assert facts_of(render_card(empty, {}, None)) == facts

    for name, value in MORE.items():
        more = facts_of(render_card(LEAST | {name: value}, {}, None))
        assert set(more.items()) - set(facts.items()) == {ROWS[name]}


def test_conditional_and_fine_tunable():
    facts = LEAST | {
        "latents": {"dim": 3, "distribution": "normal"},
        "weights": "raw",
        "num_classes": 10,
        "discriminator_classes": 10,
        "fine_tunable": True,
    }
    card = render_card(facts, D_OUTPUTS, "samples.png")
    rows = facts_of(card)
    assert rows["weights of the generator"] == "as trained (raw)"
    assert rows["latents"] == "3, normal, mean 0 and deviation 1"
    assert rows["classes"] == "10" and rows["fine-tunable"] == "yes"
    assert "(samples.png)" in card and "int32" in card
    assert "tf.random.normal((16, 3))" in code(card)
    assert "tf.random.uniform((16,), 0, 10, tf.int32)" in code(card)
    assert code(card).count("training=True") == 2
    plain = render_card(LEAST, D_OUTPUTS, None)
    assert "png" not in plain and "int32" not in plain and "labels" not in plain
    assert "tf.random.uniform((16, 7), -1.0, 1.0)" in code(plain)
    assert "training" not in code(plain) and "Fine-tuning" not in plain


@pytest.mark.parametrize(
    "rotations, meaning",
    [
        (4, "0 to 3"),
        (5, "0 to 3; 4 is fake"),
        (8, "0 to 3; 4 to 7 are the turns of fakes"),
    ],
)
def test_signatures(rotations, meaning):
    outputs = D_OUTPUTS | {"rotation_logits": rotations}
    card = render_card(
        LEAST | {"num_classes": 5, "discriminator_classes": 5}, outputs, None
    )
    header, line, generator, discriminator = [r for r in cells(card) if len(r) == 3]
    assert header == ["signature", "inputs", "outputs"]
    assert generator == [
        "`serving_default`, `generator`",
        "`z` (b, 7); `labels` (b,) in [0, 5)",
        "`generated` (b, 8, 16, 3)",
    ]
    name, inputs, outputs = discriminator
    assert inputs == "`images` (b, 8, 16, 3); `labels` (b,) in [-1, 5), -1 unknown"
    outputs = outputs.split("<br>")
    assert [re.match(r"`(\w+)` \(b, (\d+)\)", cell).groups() for cell in outputs] == [
        ("prediction", "1"),
        ("logits", "1"),
        ("rotation_logits", str(rotations)),
        ("mine", "2"),
    ]
    assert outputs[2].endswith(meaning)


def test_scores_with_their_protocol():
    assert "No scores were known" in render_card(LEAST, {}, None)
    scores = [
        {
            "values": {"fid_10k_test": [17.0, 19.0], "swd": [0.123456]},
            "protocol": "data=digits32; split=test",
            "versions": "numpy=2",
        },
        {"values": {"kid": [2.0]}, "protocol": "split=train", "versions": "numpy=1"},
    ]
    card = render_card(LEAST | {"scores": scores}, {}, None)
    assert "No scores were known" not in card
    rows = [row for row in cells(card) if len(row) == 4 and row[0] != "---"]
    header = ["metric", "mean", "deviation", "sets of fakes"]
    assert rows == [
        header,
        ["`fid_10k_test`", "18", "1", "2"],
        ["`swd`", "0.1235", "0", "1"],
        header,
        ["`kid`", "2", "0", "1"],
    ]
    texts = ("`swd`", "split=test`", "`numpy=2`", "`kid`", "split=train`", "`numpy=1`")
    places = [card.index(text) for text in texts]
    assert places == sorted(places)
