"""Runs many jobs one after another, each as processes, and skips finished commands.

Files in the output folder for a job called `name`:

    runs/<name>/         the run directory
    logs/<name>.txt      the output of its commands
    jobs/<name>.json     its finished commands
"""

import dataclasses
import fnmatch
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from ssgan_tf.utils import files
from ssgan_tf.utils.processes import Processes, exit_code
from ssgan_tf.utils.progress import clock

_LOG_LINES = 12


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: its commands, and the keys of its results.

    Attributes:
        name: str. A relative path: the name of the run, the log and the record.
        commands: arguments of Python, one tuple per command, in order. Flags that do
            not change results, such as folders, are left out.
        dataset, row, arm: str. The data set, and the row and column of the table.
        seed: int.
        steps: int. Length of the run.
        config: str. Config files and bindings, as flags.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    dataset: str = ""
    row: str = ""
    arm: str = ""
    seed: int = 0
    steps: int = 0
    config: str = ""


def command(name: str, *flags: str) -> tuple[str, ...]:
    """Returns the arguments of Python that run a command of `ssgan`."""
    return ("-m", "ssgan_tf", name, *flags)


def select(jobs: Sequence[Job], pattern: str | None) -> list[Job]:
    """Returns the jobs whose names match a shell pattern; None matches all.

    Raises:
        ValueError: no job matches. The message shows a name.
    """
    glob = "*" if pattern is None else pattern
    selected = [job for job in jobs if fnmatch.fnmatch(job.name, glob)]
    if not selected:
        raise ValueError(
            "`--only` must match the name of a job. Received: "
            f"--only={pattern}. A name: {jobs[0].name}. --print_commands shows all."
        )
    return selected


class Campaign:
    """Runs jobs in an output folder.

    Args:
        output_dir: the folder. It is created when the first file is written.
        path_flags: flags for all commands that do not change results, such as
            `--tfds_data_dir`.
    """

    def __init__(self, output_dir: str | os.PathLike, path_flags: Sequence[str] = ()):
        self.path = pathlib.Path(output_dir)
        self._path_flags = tuple(path_flags)

    def run_dir(self, job: Job) -> pathlib.Path:
        """The run directory of a job."""
        return self.path / "runs" / job.name

    def log(self, job: Job) -> pathlib.Path:
        """The file with the output of a job's commands."""
        return self.path / "logs" / f"{job.name}.txt"

    def shell_line(self, job: Job) -> str:
        """Returns all commands of a job as one line for a shell."""
        lines = [shlex.join(self._argv(job, command)) for command in job.commands]
        return " && ".join(lines)

    def is_done(self, job: Job) -> bool:
        """Whether all commands of a job are recorded as finished."""
        return not self._remaining_commands(job)

    def seconds(self, job: Job) -> float:
        """Total duration of a job's finished commands."""
        return sum(
            entry["seconds"]
            for entry in self._record(job)
            if entry["arguments"] in job.commands
        )

    def status(self, jobs: Sequence[Job]) -> str:
        """Describes in one line how many jobs are done and how many are left.

        Raises:
            ValueError: a record cannot be read.
        """
        left = [job for job in jobs if not self.is_done(job)]
        line = f"{len(jobs)} jobs, {len(jobs) - len(left)} done, {len(left)} to run"
        if left:
            line += f" ({sum(job.steps for job in left):,} steps)"
        return f"{line}{self._time_left(jobs)}"

    def run(self, jobs: Sequence[Job], after_each: Callable[[], None]) -> list[Job]:
        """Runs the jobs that are not done, one after another.

        If a job fails, the end of its log is printed and the next job runs. SIGTERM and
        SIGINT are forwarded to the running command, and SIGHUP as SIGTERM.

        Args:
            jobs: in order.
            after_each: called after every job that ran.

        Returns:
            The jobs that failed.

        Raises:
            SystemExit: with 128 + the signal, after a signal and the end of the
                command.
            ValueError: a record cannot be read.
            OSError: the output folder cannot be written.
        """
        failed = []
        for number, job in enumerate(jobs, start=1):
            if self.is_done(job):
                continue
            print(f"[{number}/{len(jobs)}] {job.name} ... ", end="", flush=True)
            start = time.monotonic()
            code = self._run_job(job)
            duration = clock(time.monotonic() - start)
            if code:
                print(f"failed with exit code {code} after {duration}: {self.log(job)}")
                print(_last_lines(self.log(job)), flush=True)
                failed.append(job)
            else:
                print(f"{duration}{self._time_left(jobs)}", flush=True)
            after_each()
        return failed

    def _time_left(self, jobs: Sequence[Job]) -> str:
        """Estimates the remaining time from the seconds per finished step."""
        done = [job for job in jobs if self.is_done(job)]
        steps_done = sum(job.steps for job in done)
        steps_left = sum(job.steps for job in jobs) - steps_done
        if not (steps_done and steps_left):
            return ""
        seconds = sum(map(self.seconds, done)) * steps_left / steps_done
        return f"; about {clock(seconds)} left"

    def _argv(self, job: Job, arguments: tuple[str, ...]) -> list[str]:
        model_dir = f"--model_dir={self.run_dir(job)}"
        return [sys.executable, *arguments, model_dir, *self._path_flags]

    def _run_job(self, job: Job) -> int:
        record = self._record(job)
        for arguments in self._remaining_commands(job):
            start = time.monotonic()
            if code := _run(self._argv(job, arguments), self.log(job)):
                return code
            seconds = round(time.monotonic() - start, 1)
            record.append({"arguments": arguments, "seconds": seconds})
            text = json.dumps(record, indent=2)
            files.write_text(self._record_path(job), text + "\n")
        return 0

    def _remaining_commands(self, job: Job) -> list[tuple[str, ...]]:
        done = [entry["arguments"] for entry in self._record(job)]
        return [arguments for arguments in job.commands if arguments not in done]

    def _record_path(self, job: Job) -> pathlib.Path:
        return self.path / "jobs" / f"{job.name}.json"

    def _record(self, job: Job) -> list[dict]:
        path = self._record_path(job)
        # If the run directory was deleted, its commands must run again.
        if not path.exists() or not self.run_dir(job).exists():
            return []
        try:
            return [
                {
                    "arguments": _current_form(entry["arguments"]),
                    "seconds": float(entry["seconds"]),
                }
                for entry in json.loads(path.read_text())
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                "A job record must be a JSON list of commands with their seconds. "
                f"Received: {path} ({error!r}). Remove it: repeating a finished "
                "command takes little time."
            ) from error


def _current_form(arguments: Sequence[str]) -> tuple[str, ...]:
    """Returns recorded arguments as `command` writes them.

    Earlier records have `-m ssgan_tf.train` for `-m ssgan_tf train`.
    """
    first, second, *others = arguments
    if second.startswith("ssgan_tf."):
        return command(second.removeprefix("ssgan_tf."), *others)
    return (first, second, *others)


def _run(argv: Sequence[str], log: pathlib.Path) -> int:
    """Runs a command and appends its output to a log.

    Returns:
        The exit code; 128 + the signal if the command was killed.

    Raises:
        SystemExit: this process received a signal, and the command has ended.
    """
    with Processes() as processes:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"$ {shlex.join(argv)}\n")
            file.flush()
            child = processes.start(argv, stdout=file, stderr=subprocess.STDOUT)
        code = exit_code(child)
        processes.exit_if_signalled()
    return code


def _last_lines(log: pathlib.Path) -> str:
    """Returns the last lines that the last command printed."""
    lines = log.read_text(errors="replace").rpartition("\n$ ")[2].splitlines()
    return "\n".join(f"    {line}" for line in lines[-_LOG_LINES:])
