"""docs/extending.md: its code runs unchanged."""

import os

import pages

from ssgan_tf.modules import reading

# Small and short, beside the page's own lines.
BINDINGS = (
    "options.batch_size = 8",
    "options.training_steps = 2",
    "options.z_dim = 8",
    "D.width = 4",
    "run_config.iterations_per_loop = 1",
    "run_config.save_checkpoints_steps = 2",
    "run_config.save_summary_steps = 1",
)


def blocks(language):
    return pages.blocks(pages.read("docs/extending.md"), language)


def test_in_python():
    snippet, _ = blocks("python")
    scope = {}
    exec(snippet, scope)
    gan = scope["gan"]
    assert gan.step == 2
    assert set(gan.history.history) == set(gan.log_names)
    assert "loss/rotation_fake" in gan.log_names


def test_by_gin(tmp_path):
    _, module = blocks("python")
    (gin_file,) = blocks("gin")
    (command,) = blocks("console")
    assert module.startswith("# my_parts.py")
    (tmp_path / "my_parts.py").write_text(module)
    (tmp_path / "mine.gin").write_text(gin_file)
    environment, command = command.strip().split(" ssgan train ")
    assert environment == "PYTHONPATH=."
    bindings = (f"--gin_bindings={line}" for line in BINDINGS)
    pages.run_python(
        *("-m", "ssgan_tf", "train", *command.split(), *bindings),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f".:{pages.ROOT}"},
    )
    (operative,) = (tmp_path / "run").glob("operative_config-*.gin")
    assert "import my_parts" in operative.read_text()
    module = reading.load(tmp_path / "run" / "tfhub" / "2")
    fakes = module.sample(3)
    assert fakes.shape == (3, 32, 32, 1) and 0 <= fakes.min() <= fakes.max() <= 1
    assert set(module.discriminate(fakes)) == {
        *("features", "logits", "prediction", "flip_logits")
    }
    assert module.discriminate(fakes)["flip_logits"].shape == (3, 1)
