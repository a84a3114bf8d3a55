"""The command line: help, exit codes, and one clear error for a mistake."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest
import tensorflow as tf
import tiny
from absl.testing import flagsaver
from optional import needs_linux

import ssgan_tf
from ssgan_tf import config
from ssgan_tf.commands import main, train
from ssgan_tf.training import run_dir

SSGAN = [sys.executable, "-m", "ssgan_tf"]


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
    """Every file and folder within a folder, with the contents of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path(folder).rglob("*")
    }


def refused(run, *arguments: str, code: int = 1) -> str:
    """The error message of a call that must write nothing."""
    before = tree(".")
    actual_code, _, errors = run(*arguments)
    assert actual_code == code
    assert "Traceback" not in errors
    assert tree(".") == before
    return errors


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--gin_config must name"),
        (["--gin_config=quickstart.gin"], "--model_dir must name"),
        (["--gin_config=quickstart.gin", "--model_dir=a", "b"], "Received: b."),
        (["--modeldir=a"], "'modeldir'"),
        (["--schedule=eval"], "train|eval_after_train|continuous_eval"),
        (["--strategy=tpus"], "auto|one_device|mirrored|multi_worker|tpu"),
        (["--num_eval_averaging_runs=0"], "--num_eval_averaging_runs=0"),
        (["--eval_every_steps=-5"], "--eval_every_steps=-5"),
    ],
)
def test_wrong_flags(run, arguments, words):
    assert words in refused(run, *arguments, code=2)


def test_a_config_that_does_not_exist(run):
    errors = refused(run, "--gin_config=nosuch.gin", "--model_dir=a")
    assert "--gin_config=nosuch.gin" in errors


def test_config_errors_are_all_shown(run):
    pathlib.Path("my.gin").write_text("options.batchsize = 3\nloss.fn = @hnge\n")
    errors = refused(run, "--gin_config=my.gin", "--model_dir=run")
    assert errors.startswith("error: ")
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
    assert "batch_size=7, replicas=4" in errors
    errors = refused(
        run, *tiny.flags("SSGAN.rotated_batch_size = 4"), "--model_dir=run", mirrored
    )
    assert "rotated_batch_size=4, shares=4" in errors
    three = tiny.flags("options.accumulate = 3")
    errors = refused(run, *three, "--model_dir=run")
    assert "accumulate=3, batch_size=8, replicas=1" in errors
    errors = refused(
        run, *tiny.flags(), "--model_dir=run", mirrored, "--jit_compile=true"
    )
    assert "replicas=4, accumulate=1" in errors and "--jit_compile" in errors


def test_sizes_that_the_architecture_cannot_make(run, monkeypatch):
    from ssgan_tf import datasets

    for size in (48, 31):
        spec = datasets.DatasetSpec("other", "1.0.0", (size, size, 3), num_classes=2)
        monkeypatch.setitem(datasets.DATASETS, "other", spec)
        errors = refused(run, *tiny.flags('dataset.name = "other"'), "--model_dir=run")
        assert f"size={size}" in errors
    with pytest.raises(ValueError, match=r"square.*\(32, 48, 3\)"):
        datasets.DatasetSpec("other", "1.0.0", (32, 48, 3), num_classes=2)


def test_model_dir_that_cannot_be(run):
    pathlib.Path("file").write_text("mine")
    for path in ("file", "file/run"):
        for schedule in ("train", "continuous_eval"):
            errors = refused(
                run, *tiny.flags(), f"--model_dir={path}", f"--schedule={schedule}"
            )
            assert f"model_dir={path}" in errors


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


def test_a_table_that_is_not_one_of_scores(run):
    pathlib.Path("run").mkdir()
    pathlib.Path("run/scores.csv").write_text("mine")
    errors = refused(run, *tiny.flags(), "--model_dir=run")
    assert "run/scores.csv" in errors


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


def test_data_dir_that_is_a_file(run):
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
    start = [sys.executable, "-c", prologue] if prologue else SSGAN
    return subprocess.run([*start, *arguments], capture_output=True, text=True)


def test_the_command_itself():
    result = ssgan()
    assert result.returncode == 0
    commands = [line for line in result.stdout.splitlines() if line.startswith("  ")]
    assert len(commands) == 5
    assert commands[1].split()[:2] == ["ssgan", "train"]
    result = ssgan("--help")
    assert result.returncode == 0
    assert result.stdout == ssgan("help").stdout == ssgan("-h").stdout
    for command in main.COMMANDS:
        assert f"\n  {command} " in result.stdout
    assert ssgan("--version").stdout == f"ssgan_tf {ssgan_tf.__version__}\n"


def test_the_ways_to_ask_for_help():
    expected = ssgan("train", "--help")
    assert expected.returncode == 0 and expected.stderr == ""
    for arguments in (["help", "train"], ["train", "-h"], ["train", "--dry_run", "-h"]):
        result = ssgan(*arguments)
        assert result.returncode == 0 and result.stdout == expected.stdout
    # The words after -- belong to the workers.
    assert ssgan("launch", "--", "sample", "-h").stdout != ssgan("launch", "-h").stdout


@pytest.mark.parametrize("arguments", ["help", "train --help"])
def test_a_reader_that_ends_early(arguments):
    command = f"{shlex.join(SSGAN)} {arguments} | true"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""


@needs_linux
@pytest.mark.parametrize("arguments", ["help", "train --help"])
def test_an_output_on_a_full_disk(arguments):
    command = f"{shlex.join(SSGAN)} {arguments} > /dev/full"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: [Errno 28] No space left on device\n"


def one_line(*arguments: str) -> str:
    """The only line that a wrong command prints; its exit code must be 2."""
    result = ssgan(*arguments)
    assert result.returncode == 2 and result.stdout == "", result
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trian", "Did you mean `ssgan train`? `ssgan help` lists all"),
        ("--gin_config=quickstart.gin", "`ssgan help`"),
        ("train quickstart.gin", "Did you mean --gin_config=quickstart.gin?"),
        ("train model_dir=run", "Did you mean --model_dir=run?"),
        ("train --gin_confg=a", "gin_config ? See `ssgan train --help`."),
        ("train", "--gin_config must name"),
        ("train --gin_config=quickstart.gin", "--model_dir must name"),
        ("train --eval_every_steps=x", "--eval_every_steps=x"),
        ("train --metrics=fid --gin_config=a --model_dir=b", "eval_after_train"),
        ("evaluate", "Flag --module must be given."),
        ("evaluate --module=a run", "Received: run."),
        ("evaluate --module=a --out=scores.txt", "--out=scores.txt"),
        ("export --output_dir=a", "--model_dir"),
        ("export --model_dir=a --out=a.zip", "--out=a.zip"),
        ("convert --module=a", "--output_dir"),
        ("convert --module=a --output_dir=b --bn_epsilon=0", "--bn_epsilon=0"),
        ("sample", "--module"),
        ("sample --module=a --out=a.jpg", "--out=a.jpg"),
        ("sample --module=a --num=many", "--num=many"),
        ("report", "ssgan report runs/uncond runs/ssgan"),
        ("report --model_dir=run", "ssgan report runs/uncond runs/ssgan"),
        ("compare", "ssgan compare runs/uncond runs/ssgan"),
        ("reproduce", "table1, table2"),
        ("reproduce tables", "figure4"),
        ("reproduce figure3 --scale=big", "full|small|tiny"),
        ("reproduce figure3 --seeds=a", "--seeds=a"),
        ("sweep --gin_config=quickstart.gin", "--grid"),
        ("data", "ssgan data prepare NAME"),
        ("data prepar cifar10", "ssgan data prepare NAME"),
        ("probe", "--model_dir"),
        ("forget", "See `ssgan forget --help`."),
        ("dump", "(module, dataset)"),
        ("launch", "-- train --gin_config=quickstart.gin"),
        ("launch train --model_dir=run", "-- train --gin_config=quickstart.gin"),
        ("launch -- trian", "-- train --gin_config=quickstart.gin"),
        ("migrate", "ssgan migrate"),
        ("doctor now", "Received: now."),
        ("doctor --inception_path=", "--inception_path="),
    ],
)
def test_a_usage_error_is_one_line(command, words):
    assert words in one_line(*command.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("train --gin_config=quickstrt.gin --model_dir=a", 1, "quickstart.gin"),
        ("train --gin_config=unlike --model_dir=a", 1, "cond_cifar10.gin"),
        ("evaluate --module=nosuch", 1, "module=nosuch"),
        ("evaluate --module=nosuch --metrics=fjd", 2, "fjd"),
        ("sample --module=nosuch", 1, "<model_dir>/tfhub/<step>"),
        ("export --model_dir=nosuch", 1, "model_dir=nosuch"),
        ("convert --module=nosuch --output_dir=new", 1, "nosuch"),
        ("report nosuch", 1, "model_dir=nosuch"),
        ("compare nosuch", 1, "nosuch"),
        ("probe --model_dir=nosuch", 1, "model_dir=nosuch"),
        ("data prepare cifr10", 1, "cifar10"),
        ("dump --out=a.npz --dataset=cifr10", 1, "cifar10"),
    ],
)
def test_an_error_with_tensorflow_is_one_line(command, code, words):
    result = ssgan(*command.split())
    assert result.returncode == code and result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and words in line


def test_keras_is_the_same_for_every_user(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "torch"}')
    result = run_main(
        "from ssgan_tf.utils import startup",
        "startup.import_tensorflow()",
        "import keras",
        "print(keras.config.backend(), keras.config.floatx())",
        env=os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
    )
    assert result.stdout == "tensorflow float32\n"


def test_importing_tensorflow_is_quiet_unless_asked():
    body = "from ssgan_tf.utils import startup", "startup.import_tensorflow()"
    assert run_main(*body).stderr == ""
    assert run_main(*body, arguments=("--verbosity=0",)).stderr != ""
    # A closed standard error, and a crash in C++ during the import.
    assert run_main(*body, preexec_fn=lambda: os.close(2)).returncode == 0
    crash = (
        "import sys, types",
        "from ssgan_tf.utils import startup",
        "class Crash:",
        "    def find_spec(self, *names): os.abort()",
        "sys.meta_path.insert(0, Crash())",
        "startup.import_tensorflow()",
    )
    result = run_main(*crash)
    assert result.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in result.stderr


MAIN = """
import logging, os, sys
from ssgan_tf.commands import main as cli
def main(argv):
{body}
cli.run(main)
"""


def run_main(
    *body: str, arguments: tuple[str, ...] = (), **options
) -> subprocess.CompletedProcess:
    """Runs a program whose main function has these lines."""
    script = MAIN.format(body="\n".join(f"    {line}" for line in body))
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        **options,
    )


def test_a_package_that_is_missing_is_one_line():
    result = run_main("import no_such_package")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "No module named 'no_such_package'" in line and "`ssgan doctor`" in line


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


def test_without_standard_error():
    result = run_main("print('done')", preexec_fn=lambda: os.close(2))
    assert result.returncode == 0 and result.stdout == "done\n"


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


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("train", ["schedule", "metrics", "tfds_data_dir", "strategy", "[no]dry_run"]),
        ("evaluate", ["module", "tags", "metrics", "inception_path", "strategy"]),
        ("dump", ["module", "z_distribution", "split"]),
        ("sample", ["module", "num_classes", "truncation"]),
        ("export", ["model_dir", "step", "out", "score_filename"]),
        ("convert", ["module", "output_dir", "g_attention"]),
        ("sweep", ["gin_config", "grid", "only", "extractor_hash"]),
        ("reproduce", ["scale", "[no]print_commands", "inception_path"]),
    ],
)
def test_help_needs_no_tensorflow_and_shows_all_flags(command, names):
    result = ssgan(
        command,
        "--help",
        prologue="import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from ssgan_tf.commands.main import main; main()",
    )
    for name in names:
        assert f"\n  --{name}: " in result.stdout


def test_a_flag_of_another_command_is_an_error():
    assert "'strategy'" in one_line("sample", "--module=a", "--strategy=auto")
    assert "'metrics'" in one_line("probe", "--model_dir=a", "--metrics=fid")


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
