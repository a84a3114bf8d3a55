"""The command line under wrong input: one clear error, and nothing written."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
import tensorflow as tf
import tiny
from absl.testing import flagsaver

import ssgan_tf
from ssgan_tf import config
from ssgan_tf.commands import main, train
from ssgan_tf.training import run_dir

SSGAN = (
    "import sys; sys.argv[0] = 'ssgan'; from ssgan_tf.commands.main import main; main()"
)


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Runs `ssgan train` here, in an empty folder: `(exit code, output, errors)`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ssgan", *arguments])
        capfd.readouterr()
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
            main.run(train.main)
        code = caught.value.code
        return code or 0, *capfd.readouterr()

    return call


def tree(folder) -> dict[str, bytes | None]:
    """Every file and folder below, with contents."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path(folder).rglob("*")
    }


def refused(run, *arguments: str) -> str:
    """The error message of a call that must write nothing."""
    before = tree(".")
    code, _, errors = run(*arguments)
    assert code == 1
    assert "Traceback" not in errors
    assert tree(".") == before
    return errors


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--gin_config must name"),
        (["--gin_config=quickstart.gin"], "--model_dir must name"),
        (
            ["--gin_config=quickstart.gin", "--model_dir=a", "b"],
            "Only flags are taken. Received: b.",
        ),
        (["--gin_config=nosuch.gin", "--model_dir=a"], "--gin_config=nosuch.gin"),
        (["--modeldir=a"], "--modeldir"),
        (["--schedule=eval"], "train|eval_after_train|continuous_eval"),
        (["--strategy=tpus"], "auto|one_device|mirrored|multi_worker|tpu"),
        (["--num_eval_averaging_runs=0"], "--num_eval_averaging_runs=0"),
        (["--eval_every_steps=-5"], "--eval_every_steps=-5"),
    ],
)
def test_flags(run, arguments, words):
    assert words in refused(run, *arguments)


def test_config_errors_are_all_shown(run):
    pathlib.Path("my.gin").write_text("options.batchsize = 3\nloss.fn = @hnge\n")
    errors = refused(run, "--gin_config=my.gin", "--model_dir=run")
    assert "error: The configuration has lines that cannot be used" in errors
    assert "my.gin:1: options.batchsize = 3" in errors and "my.gin:2" in errors


@pytest.mark.parametrize(
    "binding, words",
    [
        ("options.batch_size = 0", "batch_size=0"),
        ('dataset.name = "imagenet"', "name='imagenet'"),
        ('options.architecture = "dcgn"', "Did you mean 'dcgan'"),
        ("SSGAN.rotated_batch_size = 64", "batch_size=8"),
        ("SSGAN.rotated_batch_size = 6", "rotated_batch_size=6"),
        ("ModularGAN.g_lr = -1", "g_lr=-1"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_values(run, binding, words, dry):
    where = "--dry_run" if dry else "--model_dir=run"
    errors = refused(run, *tiny.flags(binding), where)
    assert errors.strip().startswith("error: ") and words in errors


def test_batch_and_replicas(run):
    mirrored = "--strategy=mirrored"
    errors = refused(
        run,
        *tiny.flags("options.batch_size = 7", "SSGAN.rotated_batch_size = 8"),
        "--model_dir=run",
        mirrored,
    )
    assert "batch_size=7, replicas=4. Choose a multiple of 4" in errors
    errors = refused(
        run, *tiny.flags("SSGAN.rotated_batch_size = 4"), "--model_dir=run", mirrored
    )
    assert "rotated_batch_size=4, shares=4. Choose a multiple of 16" in errors
    three = tiny.flags("options.accumulate = 3")
    errors = refused(run, *three, "--model_dir=run")
    assert "accumulate=3, batch_size=8, replicas=1. Choose a divisor of 8" in errors
    errors = refused(
        run, *tiny.flags(), "--model_dir=run", mirrored, "--jit_compile=true"
    )
    assert "replicas=4, accumulate=1. Take --jit_compile=auto" in errors


def test_sizes_that_the_architecture_cannot_make(run, monkeypatch):
    from ssgan_tf import datasets

    for size in (48, 31):
        spec = datasets.DatasetSpec("other", "1.0.0", (size, size, 3), num_classes=2)
        monkeypatch.setitem(datasets.DATASETS, "other", spec)
        errors = refused(run, *tiny.flags('dataset.name = "other"'), "--model_dir=run")
        assert f"size={size}. Architectures for that size: " in errors
    with pytest.raises(ValueError, match=r"square.*\(32, 48, 3\)"):
        datasets.DatasetSpec("other", "1.0.0", (32, 48, 3), num_classes=2)


def test_model_dir_that_cannot_be(run):
    pathlib.Path("file").write_text("mine")
    for path in ("file", "file/run"):
        for schedule in ("train", "continuous_eval"):
            errors = refused(
                run, *tiny.flags(), f"--model_dir={path}", f"--schedule={schedule}"
            )
            assert f"model_dir={path}, but file is no folder" in errors


def test_model_dir_of_another_configuration(run):
    tiny.plan().build_gan()
    run_dir.RunDir("old").write_config(config.operative_config(), 0)
    for schedule in ("train", "eval_after_train", "continuous_eval"):
        errors = refused(
            run,
            *tiny.flags("ModularGAN.g_lr = 0.5"),
            "--model_dir=old",
            f"--schedule={schedule}",
        )
        assert "-ModularGAN.g_lr = " in errors and "+ModularGAN.g_lr = 0.5" in errors
        assert "--allow_config_change" in errors


def test_scores_that_are_none(run):
    pathlib.Path("run").mkdir()
    pathlib.Path("run/scores.csv").write_text("mine")
    errors = refused(run, *tiny.flags(), "--model_dir=run")
    assert "Name another file, or move that one away" in errors


def test_inception_is_checked_before_training(run):
    class Narrow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 299, 299, 3])])
        def __call__(self, images):
            flat = tf.zeros([tf.shape(images)[0], 10])
            return {"pool_3": flat, "logits": flat}

    tf.saved_model.save(Narrow(), "narrow")
    for path, words in (("missing", "saved_model.pb"), ("narrow", "2048")):
        for schedule in ("eval_after_train", "continuous_eval"):
            errors = refused(
                run,
                *tiny.flags(),
                "--model_dir=run",
                f"--inception_path={path}",
                f"--schedule={schedule}",
            )
            assert words in errors and f"path='{path}'" in errors


def test_data_that_is_not_there(run, monkeypatch):
    pathlib.Path("data").write_text("no folder")
    errors = refused(run, *tiny.flags(), "--model_dir=run", "--tfds_data_dir=data")
    assert "error: " in errors and "data" in errors


def test_dry_run_writes_nothing(run):
    data_dir = os.environ["TFDS_DATA_DIR"]
    before = tree(".")
    data_before = sorted(tree(data_dir)) if os.path.isdir(data_dir) else None
    code, output, _ = run(*tiny.flags(), "--dry_run", "--model_dir=run")
    assert code == 0
    for words in ("generator", "GFLOP", "8 on 1 replica(s)", "nothing written"):
        assert words in output
    assert tree(".") == before
    data_after = sorted(tree(data_dir)) if os.path.isdir(data_dir) else None
    assert data_after == data_before


@pytest.mark.slow
def test_dry_run_says_how_the_step_would_run(run):
    bindings = "options.precision = 'mixed_bfloat16'", "options.accumulate = 2"
    code, output, _ = run(*tiny.flags(*bindings), "--dry_run")
    assert code == 0
    for words in ("8 on 1 replica(s), 8 each, in 2 pieces", "  mixed_bfloat16\n"):
        assert words in output


def ssgan(*arguments: str, prologue: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", prologue + SSGAN, *arguments],
        capture_output=True,
        text=True,
    )


def test_the_command_itself():
    result = ssgan()
    assert result.returncode == 0
    commands = [line for line in result.stdout.splitlines() if line.startswith("  ")]
    assert len(commands) == 5
    assert commands[1].split()[:2] == ["ssgan", "train"]
    result = ssgan("--help")
    assert result.returncode == 0
    assert result.stdout == ssgan("help").stdout
    for command in main.COMMANDS:
        assert f"\n  {command} " in result.stdout
    assert ssgan("help", "train").stdout == ssgan("train", "--help").stdout
    assert ssgan("--version").stdout == f"ssgan_tf {ssgan_tf.__version__}\n"


def one_line(*arguments: str) -> str:
    """The only line that a wrong command prints, in an exit that is no success."""
    done = ssgan(*arguments)
    assert done.returncode in (1, 2) and done.stdout == "", done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trian", "Did you mean `ssgan train`? `ssgan help` lists all"),
        ("--gin_config=quickstart.gin", "`ssgan help`"),
        ("train quickstart.gin", "Did you mean --gin_config=quickstart.gin?"),
        ("train model_dir=run", "Did you mean --model_dir=run?"),
        ("train --gin_confg=a", "Did you mean --gin_config? See `ssgan train --help`."),
        ("train", "--gin_config must name"),
        ("train --gin_config=quickstart.gin", "--model_dir must name"),
        ("train --eval_every_steps=x", "--eval_every_steps=x"),
        ("train --metrics=fid --gin_config=a --model_dir=b", "eval_after_train"),
        (
            "train --modeldir=a",
            "There is no flag --modeldir. Did you mean --model_dir?",
        ),
        ("train --gin_bindings=a.b = 1", '--gin_bindings="options.batch_size = 32"'),
        ("evaluate", "--module must be given."),
        ("sample run/tfhub/7", "Did you mean --module=run/tfhub/7?"),
        ("summary run", "Did you mean --model_dir=run?"),
        ("report --model_dir=run", "for example `ssgan report runs/uncond runs/ssgan`"),
        ("launch train --model_dir=run", "The command of the workers"),
        ("evaluate --module=a run", "Only flags are taken. Received: run."),
        ("evaluate --module=a --out=scores.txt", "--out=scores.txt"),
        ("sample", "--module"),
        ("sample --module=a --out=a.jpg", "--out=a.jpg"),
        ("sample --module=a --num=many", "--num=many"),
        ("report", "ssgan report runs/uncond runs/ssgan"),
        ("compare", "ssgan compare runs/uncond runs/ssgan"),
        ("reproduce", "table1, table2"),
        ("reproduce tables", "figure4"),
        ("reproduce figure3 --scale=big", "full|small|tiny"),
        ("reproduce figure3 --seeds=a", "--seeds=a"),
        ("sweep --gin_config=quickstart.gin", "--grid"),
        ("data", "ssgan data prepare NAME"),
        ("data prepar cifar10", "ssgan data prepare NAME"),
        ("summary", "--model_dir"),
        ("probe", "--model_dir"),
        ("forget", "--model_dir must be given. See `ssgan forget --help`."),
        (
            "dump",
            "--out must be given. Exactly one of --module and --dataset must be given.",
        ),
        ("launch", "-- train --gin_config=quickstart.gin"),
        ("launch -- trian", "-- train --gin_config=quickstart.gin"),
        ("migrate", "ssgan migrate"),
        ("doctor now", "Only flags are taken. Received: now."),
        ("doctor --inception_path=", "Leave the flag out"),
    ],
)
def test_a_mistake_gets_one_line(command, words):
    assert words in one_line(*command.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train --gin_config=quickstrt.gin --model_dir=a", "mean quickstart.gin?"),
        ("train --gin_config=unlike --model_dir=a", "Shipped: cond_cifar10.gin"),
        ("evaluate --module=nosuch", "module=nosuch"),
        ("evaluate --module=nosuch --metrics=fjd", "fjd"),
        ("sample --module=nosuch", "<model_dir>/tfhub/<step>"),
        ("report nosuch", "model_dir=nosuch"),
        ("compare nosuch", "nosuch"),
        ("summary --model_dir=nosuch", "model_dir=nosuch"),
        ("probe --model_dir=nosuch", "model_dir=nosuch"),
        ("data prepare cifr10", "cifar10"),
        ("dump --out=a.npz --dataset=cifr10", "cifar10"),
    ],
)
def test_a_mistake_that_needs_a_look_gets_one_line(command, words):
    assert words in one_line(*command.split())


def test_what_cpp_says_is_held_back_but_for_errors(tmp_path):
    script = (
        "import os\n"
        "from ssgan_tf.utils import startup\n"
        "with startup._without_noise():\n"
        "    os.write(2, b'I0000 00:00:1.2 7 port.cc:153] oneDNN is on\\n'\n"
        "                b'W0000 00:00:1.2 7 gpu.cc:3] slow\\n'\n"
        "                b'E0000 00:00:1.2 7 x:1] Unable to register cuDNN factory'\n"
        "                b'\\nE0000 00:00:1.2 7 dso.cc:1] libcudnn is broken\\n')\n"
        "os.write(2, b'after\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stderr.splitlines() == [
        "E0000 00:00:1.2 7 dso.cc:1] libcudnn is broken",
        "after",
    ]
    # A crash must show, although what came before it is held back.
    crash = script + "with startup._without_noise():\n    os.abort()\n"
    done = subprocess.run([sys.executable, "-c", crash], capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT and "Aborted" in done.stderr


@pytest.mark.parametrize(
    "verbosity", [(), pytest.param(("--verbosity=0",), marks=pytest.mark.slow)]
)
def test_tensorflow_is_quiet_unless_asked(verbosity, tmp_path):
    # Of another program's users.
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "torch"}')
    script = (
        "import sys\nfrom ssgan_tf.commands import main as cli\n"
        "from ssgan_tf.utils import startup\n"
        "def main(argv):\n    startup.import_tensorflow()\n"
        "    import tensorflow as tf\n    import keras\n"
        "    print(float(tf.reduce_sum(tf.ones(3))), keras.config.backend(), "
        "keras.config.floatx())\n"
        "cli.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *verbosity],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        | {"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
    )
    assert done.stdout == "3.0 tensorflow float32\n"
    assert bool(done.stderr) == bool(verbosity)


MAIN = """
import logging, os, sys
from ssgan_tf.commands import main as cli
def main(argv):
{body}
cli.run(main)
"""


def run_main(*body: str, **options) -> subprocess.CompletedProcess:
    """A program whose main is these lines."""
    script = MAIN.format(body="\n".join(f"    {line}" for line in body))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, **options
    )


def test_a_package_that_is_missing_is_one_line():
    done = run_main("import no_such_package")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Received: No module named 'no_such_package'. `ssgan doctor` says" in line


def test_log_lines():
    done = run_main(
        "logging.getLogger('absl').info('of another package')",
        "from ssgan_tf.utils import progress",
        "progress.logging.warning('of another package, too')",
        "progress.logging.error('lost')",
        "list(progress.track([1], 1, 'slow')) if progress.time.sleep(0) else None",
        "from ssgan_tf.utils import machine",
        "code = compile('from absl import logging; logging.info(1); "
        "logging.warning(2)', machine.__file__, 'exec')",
        "exec(code)",
    )
    assert done.returncode == 0, done.stderr
    time = r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d "
    lines = [re.sub(f"^{time}", "", line) for line in done.stderr.splitlines()]
    assert lines == ["error: lost", "1", "warning: 2"]


def test_without_standard_error_and_without_disk():
    body = (
        "from ssgan_tf.utils import startup",
        "with startup._without_noise():",
        "    print('done')",
    )
    done = run_main(*body, preexec_fn=lambda: os.close(2))
    assert done.returncode == 0 and done.stdout == "done\n"
    done = run_main("import tempfile; tempfile.tempdir = '/nowhere'", *body)
    assert done.returncode == 0 and done.stdout == "done\n"


def test_a_terminal_that_is_closed_ends_it(tmp_path):
    body = (
        "import signal, time, tempfile",
        "with tempfile.TemporaryDirectory(dir=sys.argv[0]):",
        "    os.kill(os.getpid(), signal.SIGHUP)",
        "    time.sleep(9)",
    )
    script = MAIN.format(body="\n".join(f"    {line}" for line in body))
    script = f"import sys; sys.argv = [{str(tmp_path)!r}]\n{script}"
    done = subprocess.run([sys.executable, "-c", script])
    assert done.returncode == 128 + signal.SIGHUP
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_whole():
    # TensorFlow takes seconds to import, and help does not need it.
    result = ssgan("train", "--help", prologue="import sys; sys.modules['tensorflow'] "
                   "= sys.modules['keras'] = None; ")  # fmt: skip
    for flag in ("--gin_config", "--model_dir", "--[no]dry_run", "eval_after_train"):
        assert flag in result.stdout
    assert "--model_dir" in ssgan("summary", "--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    sorted(
        path.name
        for path in config.config_dir().glob("*.gin")
        if "options." in path.read_text()
    ),
)
def test_dry_run_of_every_config(run, name):
    code, output, errors = run(f"--gin_config={name}", "--dry_run")
    assert code == 0, errors
    assert "nothing written" in output
    assert list(pathlib.Path(".").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("train", ["schedule", "metrics", "tfds_data_dir", "strategy"]),
        ("evaluate", ["module", "tags", "metrics", "inception_path", "strategy"]),
        ("dump", ["module", "z_distribution", "split"]),
        ("sample", ["module", "num_classes", "truncation"]),
    ],
)
def test_help_shows_the_flags_that_binaries_share(command, names):
    found = ssgan(command, "--help").stdout
    for name in names:
        assert f"\n  --{name}: " in found
