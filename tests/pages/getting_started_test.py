"""docs/getting_started.md: its commands, in order, in an empty folder."""

import numpy as np
import pages
import pytest

from ssgan_tf.utils import pictures

PAGE = "docs/getting_started.md"
# A hundredth of the steps, everywhere on the page.
STEPS = {"1600": "16", "2000": "20"}
SMALL = (
    "options.batch_size = 8",
    "options.training_steps = 16",
    "SSGAN.rotated_batch_size = 16",
    "G.width = 4",
    "D.width = 4",
    "run_config.iterations_per_loop = 2",
    "run_config.save_checkpoints_steps = 4",
    "run_config.save_summary_steps = 2",
)


def made_small(words: list[str]) -> list[str] | None:
    """The arguments of `ssgan` as a test can run them; None for a download."""
    if words[:3] == ["data", "prepare", "cifar10"]:
        return None
    if "train" not in words:
        return words
    start = words.index("train") + 1
    # The page's own bindings come later and win.
    small = [f"--gin_bindings={binding}" for binding in SMALL]
    # Without its data a config is only planned.
    no_data = "cifar10" in words[start] and "--image_folder" not in " ".join(words)
    return words[:start] + small + words[start:] + ["--dry_run"] * no_data


@pytest.mark.slow
def test_from_nothing_to_a_module(tmp_path):
    text = pages.read(PAGE)
    for steps, fewer in STEPS.items():
        text = text.replace(steps, fewer)
    (mine,) = pages.blocks(text, "gin")
    (tmp_path / "mine.gin").write_text(mine)
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(np.random.default_rng(0).uniform(size=(12, 40, 50, 3))):
        pictures.write_png(tmp_path / "photos" / f"{i}.png", np.uint8(255 * image))

    for command in pages.commands(text, PAGE):
        if command.whole and command.words[0] == "ssgan":
            small = made_small(command.words[1:])
            if small is not None:
                pages.run_python("-m", "ssgan_tf", *small, cwd=tmp_path)
    for block in pages.blocks(text, "python"):
        pages.run_python("-c", block, cwd=tmp_path)
    for name in (
        *("samples.png", "loop.gif", "mine.csv", "report.html", "both.html"),
        *("run/scores.csv", "run/samples/16.png", "run/tfhub/0", "plain/tfhub/20"),
        *("tuned/tfhub/16", "photos_32x32x3.png", "photos_run/tfhub/16"),
        "two/tfhub/16",
    ):
        assert (tmp_path / name).exists(), name
    for name in ("narrow", "larger", "cifar10"):
        assert not (tmp_path / name).exists(), name
    # The page's list of a run directory.
    listed = pages.blocks(text, "text")[1]
    for line in listed.splitlines():
        pattern = line.split()[0].replace("<step>", "*").rstrip("/")
        assert list((tmp_path / "run").glob(pattern)), line
