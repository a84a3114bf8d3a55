"""The command line: help, exit codes, and one clear error for a mistake."""

import json
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
from calls import tree
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


def refused(run, *arguments: str, code: int = 1) -> str:
    """The error message of a call that must write nothing."""
    before = tree(".")
    actual_code, _, errors = run(*arguments)
    assert actual_code == code
    assert "Traceback" not in errors
    assert tree(".") == before
    return errors


def test_config_errors_are_all_shown(run):
    pathlib.Path("my.gin").write_text("options.batchsize = 3\nloss.fn = @hnge\n")
    errors = refused(run, "--gin_config=my.gin", "--model_dir=run")
    assert errors.startswith("error: ")
    assert "my.gin:1: options.batchsize = 3" in errors and "my.gin:2" in errors


@pytest.mark.parametrize(
    ("bindings", "flags", "words"),
    [
        (["options.batch_size = 0"], [], "batch_size=0"),
        (["options.batch_size = 0"], ["--dry_run"], "batch_size=0"),
        (['dataset.name = "imagenet"'], [], "name='imagenet'"),
        (['options.architecture = "dcgn"'], [], "'dcgan'"),
        (["SSGAN.rotated_batch_size = 64"], ["--dry_run"], "batch_size=8"),
        (["SSGAN.rotated_batch_size = 6"], [], "rotated_batch_size=6"),
        (["ModularGAN.g_lr = -1"], [], "g_lr=-1"),
        (
            ["options.batch_size = 7", "SSGAN.rotated_batch_size = 8"],
            ["--strategy=mirrored"],
            "batch_size=7, replicas=4",
        ),
        (["SSGAN.rotated_batch_size = 4"], ["--strategy=mirrored"], "=4, shares=4"),
        (["options.accumulate = 3"], [], "accumulate=3, batch_size=8, replicas=1"),
        ([], ["--strategy=mirrored", "--jit_compile=true"], "replicas=4, accumulate=1"),
    ],
)
def test_values(run, bindings, flags, words):
    errors = refused(run, *tiny.flags(*bindings), "--model_dir=run", *flags)
    assert errors.strip().startswith("error: ") and words in errors


def test_sizes_that_the_architecture_cannot_make(run, monkeypatch):
    from ssgan_tf import datasets

    spec = datasets.DatasetSpec("other", "1.0.0", (48, 48, 3), num_classes=2)
    monkeypatch.setitem(datasets.DATASETS, "other", spec)
    errors = refused(run, *tiny.flags('dataset.name = "other"'), "--model_dir=run")
    assert "size=48" in errors


@pytest.mark.parametrize("path", ["file", "file/run"])
@pytest.mark.parametrize("schedule", ["train", "continuous_eval"])
def test_model_dir_that_cannot_be(run, path, schedule):
    pathlib.Path("file").write_text("mine")
    flags = f"--model_dir={path}", f"--schedule={schedule}"
    assert f"model_dir={path}" in refused(run, *tiny.flags(), *flags)


def test_model_dir_of_another_configuration(run):
    tiny.plan().build_gan()
    run_dir.RunDir("old").write_config(config.operative_config(), 0)
    for schedule in ("train", "continuous_eval"):
        errors = refused(
            run,
            *tiny.flags("ModularGAN.g_lr = 0.5"),
            "--model_dir=old",
            f"--schedule={schedule}",
        )
        assert "-ModularGAN.g_lr = " in errors and "+ModularGAN.g_lr = 0.5" in errors
        assert "--allow_config_change" in errors


@pytest.mark.parametrize(
    ("flags", "file", "words"),
    [
        (["--gin_config=nosuch.gin"], "a", "--gin_config=nosuch.gin"),
        (tiny.flags(), "run/scores.csv", "run/scores.csv"),
        ([*tiny.flags(), "--tfds_data_dir=data"], "data", "data"),
    ],
)
def test_files_that_do_not_fit(run, flags, file, words):
    pathlib.Path("run").mkdir()
    pathlib.Path(file).write_text("mine")
    assert words in refused(run, *flags, "--model_dir=run")


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


def test_dry_run_writes_nothing(run):
    flags = "--dry_run", "--model_dir=run", "--tfds_data_dir=data"
    code, output, _ = run(*tiny.flags(), *flags)
    assert code == 0 and tree(".") == {}
    for words in ("generator", "GFLOP", "8 on 1 replica(s)", "nothing written"):
        assert words in output


@pytest.mark.slow
def test_dry_run_says_how_the_step_would_run(run):
    bindings = "options.precision = 'mixed_bfloat16'", "options.accumulate = 2"
    code, output, _ = run(*tiny.flags(*bindings), "--dry_run")
    assert code == 0
    for words in ("8 on 1 replica(s), 8 each, in 2 pieces", "  mixed_bfloat16\n"):
        assert words in output


def ssgan(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*SSGAN, *arguments], capture_output=True, text=True)


# Forks for each call, as Python takes a second to import everything. TensorFlow is
# out of reach.
FORKS = """
import json, os, sys, tempfile
sys.modules["tensorflow"] = sys.modules["keras"] = None
from ssgan_tf.commands import flags, main
results = []
for line in json.load(sys.stdin):
    streams = [tempfile.TemporaryFile("w+") for _ in range(2)]
    if not os.fork():
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream.fileno(), number)
        sys.argv = ["ssgan", *line.split()]
        main.main()
        sys.exit()
    code = os.waitstatus_to_exitcode(os.wait()[1])
    for stream in streams:
        stream.seek(0)
    results.append([code, *(stream.read() for stream in streams)])
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module")
def calls() -> dict[str, tuple[int, str, str]]:
    """Exit code, output and errors of calls that need no TensorFlow."""
    lines = [*HELP, *USAGE_ERRORS, *(f"{command} --help" for command in FLAGS)]
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(lines, json.loads(done.stdout), strict=True))


HELP = [
    *["", "--help", "help", "-h", "--version"],
    *["train --help", "help train", "train -h", "train --dry_run -h"],
    *["launch -h", "launch -- sample -h"],
]


def test_the_command_itself(calls):
    for line in ("", "--help", "-h"):
        assert calls[line] == calls["help"]
    code, output, errors = calls["help"]
    assert code == 0 and errors == "" and "\n  ssgan train --gin_config=" in output
    for command in main.COMMANDS:
        assert f"\n  {command} " in output
    assert calls["--version"][1] == f"ssgan_tf {ssgan_tf.__version__}\n"


def test_the_ways_to_ask_for_help(calls):
    expected = calls["train --help"]
    assert expected[0] == 0 and expected[2] == ""
    for line in ("help train", "train -h", "train --dry_run -h"):
        assert calls[line] == expected
    # The words after -- belong to the workers.
    assert calls["launch -- sample -h"][1] != calls["launch -h"][1]


@needs_linux
@pytest.mark.parametrize("arguments", ["help", "train --help"])
@pytest.mark.parametrize(
    ("output", "code", "errors"),
    [
        ("| true", 0, ""),
        ("> /dev/full", 1, "error: [Errno 28] No space left on device\n"),
    ],
)
def test_an_output_that_cannot_be_written(arguments, output, code, errors):
    command = f"{shlex.join(SSGAN)} {arguments} {output}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (code, errors)


USAGE_ERRORS = {
    "trian": "Did you mean `ssgan train`?",
    "--gin_config=quickstart.gin": "`ssgan help`",
    "train quickstart.gin": "Did you mean --gin_config=quickstart.gin?",
    "train model_dir=run": "Did you mean --model_dir=run?",
    "train options.seed=3": "Did you mean --gin_bindings=options.seed=3?",
    "train --modeldir=a": "'modeldir'",
    "train --schedule=eval": "train|eval_after_train|continuous_eval",
    "train --strategy=tpus": "auto|one_device|mirrored|multi_worker|tpu",
    "train --num_eval_averaging_runs=0": "--num_eval_averaging_runs=0",
    "train --eval_every_steps=-5": "--eval_every_steps=-5",
    "train --gin_confg=a": "gin_config ? See `ssgan train --help`.",
    "train": "--gin_config",
    "train --gin_config=quickstart.gin": "--model_dir must name",
    "train --eval_every_steps=x": "--eval_every_steps=x",
    "train --metrics=fid --gin_config=a --model_dir=b": "eval_after_train",
    "evaluate": "Flag --module must be given.",
    "evaluate --module=a run": "Received: run. See",
    "evaluate --module=a --out=scores.txt": "--out=scores.txt",
    "export --output_dir=a": "--model_dir",
    "export --model_dir=a --out=a.zip": "--out=a.zip",
    "convert --module=a": "--output_dir",
    "convert --module=a --output_dir=b --bn_epsilon=0": "--bn_epsilon=0",
    "sample": "--module",
    "sample --module=a --out=a.jpg": "--out=a.jpg",
    "sample --module=a --num=many": "--num=many",
    "report": "ssgan report runs/uncond runs/ssgan",
    "report --model_dir=run": "ssgan report runs/uncond runs/ssgan",
    "compare": "ssgan compare runs/uncond runs/ssgan",
    "compare . --anyway": "--anyway",
    "reproduce": "table1, table2",
    "reproduce tables": "figure4",
    "reproduce figure3 --scale=big": "full|small|tiny",
    "reproduce table1 table2": "NAME is one of table1",
    "reproduce figure3 --seeds=0,a": "--seeds=0,a",
    "reproduce figure3 --seeds=-1": "--seeds=-1",
    "sweep --gin_config=quickstart.gin": "--grid",
    "data": "ssgan data prepare NAME",
    "data prepar cifar10": "ssgan data prepare NAME",
    "probe": "--model_dir",
    "forget": "See `ssgan forget --help`.",
    "dump": "(module, dataset)",
    "launch": "-- train --gin_config=quickstart.gin",
    "launch train --model_dir=run": "-- train --gin_config=quickstart.gin",
    "launch -- trian": "-- train --gin_config=quickstart.gin",
    "migrate": "ssgan migrate",
    "doctor now": "Received: now.",
    "doctor --inception_path=": "--inception_path=",
    "sample --module=a --strategy=auto": "'strategy'",
    "probe --model_dir=a --metrics=fid": "'metrics'",
}


@pytest.mark.parametrize("line", USAGE_ERRORS)
def test_a_usage_error_is_one_line(calls, line):
    code, output, errors = calls[line]
    assert code == 2 and output == ""
    (error,) = errors.splitlines()
    assert error.startswith("error: ") and USAGE_ERRORS[line] in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("train --gin_config=quickstrt.gin --model_dir=a", 1, "quickstart.gin"),
        ("evaluate --module=nosuch", 1, "module=nosuch"),
        ("evaluate --module=nosuch --metrics=fjd", 2, "fjd"),
        ("sample --module=nosuch", 1, "<model_dir>/tfhub/<step>"),
        ("convert --module=nosuch --output_dir=new", 1, "nosuch"),
        ("compare nosuch", 1, "nosuch"),
        ("probe --model_dir=nosuch", 1, "model_dir=nosuch"),
        ("data prepare cifr10", 1, "cifar10"),
    ],
)
def test_an_error_with_tensorflow_is_one_line(command, code, words):
    result = ssgan(*command.split())
    assert result.returncode == code and result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and words in line


def test_keras_is_the_same_for_every_user_and_quiet(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "torch"}')
    result = run_main(
        "from ssgan_tf.utils import startup",
        "startup.import_tensorflow()",
        "import keras",
        "print(keras.config.backend(), keras.config.floatx())",
        env=os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)},
    )
    assert result.stdout == "tensorflow float32\n" and result.stderr == ""


@pytest.mark.slow
def test_importing_tensorflow_with_other_outputs():
    body = "from ssgan_tf.utils import startup", "startup.import_tensorflow()"
    assert run_main(*body, arguments=("--verbosity=0",)).stderr != ""
    # A closed standard error.
    result = run_main(*body, "print('done')", preexec_fn=lambda: os.close(2))
    assert result.returncode == 0 and result.stdout == "done\n"


def test_a_crash_of_an_import_is_shown():
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


FLAGS = {
    "train": ["schedule", "metrics", "tfds_data_dir", "strategy", "[no]dry_run"],
    "evaluate": ["module", "tags", "metrics", "inception_path", "strategy"],
    "dump": ["module", "z_distribution", "split"],
    "sample": ["module", "num_classes", "truncation"],
    "export": ["model_dir", "step", "out", "score_filename"],
    "convert": ["module", "output_dir", "g_attention"],
    "sweep": ["gin_config", "grid", "only", "extractor_hash"],
    "reproduce": ["scale", "[no]print_commands", "inception_path"],
}


@pytest.mark.parametrize("command", FLAGS)
def test_help_shows_all_flags(calls, command):
    for name in FLAGS[command]:
        assert f"\n  --{name}: " in calls[f"{command} --help"][1]


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
