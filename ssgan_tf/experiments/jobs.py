"""Many runs: one after another as processes of their own, what is done left out.

Of a job called `name` an output folder holds

    runs/<name>/         the run directory
    logs/<name>.txt      what its commands printed
    jobs/<name>.json     its commands that are done
"""

import dataclasses
import fnmatch
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from ssgan_tf.utils import files
from ssgan_tf.utils.progress import clock

_SHOWN_LINES = 12
# What this process is asked to end by -> what its command is. Nothing saves on SIGHUP.
_HANDED_ON = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGTERM,
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: the commands that make it, and what its numbers are filed under.

    Attributes:
        name: str. A relative path; of the run, and of the record of what is done.
        commands: arguments of Python, one tuple for each command, in order; without
            those that move no number: where the run and the data sets lie.
        dataset, row, arm: str. What is trained, on what.
        seed: int.
        steps: int. At the end of training.
        config: str. Files and bindings, as flags.
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
    """Arguments of Python for a command of `ssgan`."""
    return ("-m", "ssgan_tf", name, *flags)


def selected(jobs: Iterable[Job], pattern: str | None) -> list[Job]:
    """The jobs whose names match a pattern of the shell; None matches all.

    Raises:
        ValueError: none does; the message shows a name.
    """
    jobs = list(jobs)
    chosen = [
        job for job in jobs if pattern is None or fnmatch.fnmatch(job.name, pattern)
    ]
    if not chosen:
        raise ValueError(
            "`--only` must match the name of a job. Received: "
            f"--only={pattern}. A name: {jobs[0].name}. --print_commands shows all."
        )
    return chosen


class Campaign:
    """Jobs in an output folder.

    Args:
        output_dir: the folder; made when something is written.
        places: flags of all commands that move no number.
    """

    def __init__(self, output_dir: str | os.PathLike, places: Sequence[str] = ()):
        self.path = pathlib.Path(output_dir)
        self._places = tuple(places)

    def run_dir(self, job: Job) -> pathlib.Path:
        """Where the run of a job lies."""
        return self.path / "runs" / job.name

    def log(self, job: Job) -> pathlib.Path:
        """What the commands of a job have printed."""
        return self.path / "logs" / f"{job.name}.txt"

    def line(self, job: Job) -> str:
        """A job as one line for a shell, with all its commands."""
        return " && ".join(shlex.join(self._argv(job, each)) for each in job.commands)

    def is_done(self, job: Job) -> bool:
        """Whether all commands of a job are on record."""
        return not self._missing(job)

    def plan(self, jobs: Sequence[Job]) -> str:
        """What is done and what is left of some jobs, in words.

        Raises:
            ValueError: a record cannot be read.
        """
        left = [job for job in jobs if not self.is_done(job)]
        line = f"{len(jobs)} jobs, {len(jobs) - len(left)} done, {len(left)} to run"
        if left:
            line += f" ({sum(job.steps for job in left):,} steps)"
        return f"{line}{self._left(jobs)}"

    def _left(self, jobs: Sequence[Job]) -> str:
        """The time that is left, in words, as far as the steps that are done tell."""
        done = [job for job in jobs if self.is_done(job)]
        steps_done = sum(job.steps for job in done)
        steps_left = sum(job.steps for job in jobs) - steps_done
        if not (steps_done and steps_left):
            return ""
        seconds = sum(map(self.seconds, done)) * steps_left / steps_done
        return f"; about {clock(seconds)} left"

    def run(self, jobs: Sequence[Job], after_each: Callable[[], None]) -> list[Job]:
        """Runs what is not done, one job after another.

        A job that fails is reported with the end of its log, and the others go on.
        SIGTERM and SIGINT are handed to the command that runs, and SIGHUP as SIGTERM.

        Args:
            jobs: in order.
            after_each: called after each job that ran.

        Returns:
            The jobs that failed.

        Raises:
            SystemExit: with 128 + the signal that it was asked to end by, once the
                command has ended.
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
            took = clock(time.monotonic() - start)
            if code:
                print(f"failed with exit code {code} after {took}: {self.log(job)}")
                print(_last_lines(self.log(job)), flush=True)
                failed.append(job)
            else:
                print(f"{took}{self._left(jobs)}", flush=True)
            after_each()
        return failed

    def _argv(self, job: Job, arguments: tuple[str, ...]) -> list[str]:
        place = f"--model_dir={self.run_dir(job)}"
        return [sys.executable, *arguments, place, *self._places]

    def _run_job(self, job: Job) -> int:
        record = self._record(job)
        for arguments in self._missing(job):
            start = time.monotonic()
            if code := _run(self._argv(job, arguments), self.log(job)):
                return code
            record.append(
                {
                    "arguments": list(arguments),
                    "seconds": round(time.monotonic() - start, 1),
                }
            )
            text = json.dumps(record, indent=2)
            files.write_text(self._record_path(job), text + "\n")
        return 0

    def _missing(self, job: Job) -> list[tuple[str, ...]]:
        done = [tuple(entry["arguments"]) for entry in self._record(job)]
        return [arguments for arguments in job.commands if arguments not in done]

    def seconds(self, job: Job) -> float:
        """What the commands of a job took that are on record."""
        return sum(
            entry["seconds"]
            for entry in self._record(job)
            if tuple(entry["arguments"]) in job.commands
        )

    def _record_path(self, job: Job) -> pathlib.Path:
        return self.path / "jobs" / f"{job.name}.json"

    def _record(self, job: Job) -> list[dict]:
        path = self._record_path(job)
        # Of a run that was deleted nothing is done.
        if not path.exists() or not self.run_dir(job).exists():
            return []
        try:
            return [
                {"arguments": [*each["arguments"]], "seconds": float(each["seconds"])}
                for each in json.loads(path.read_text())
            ]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                "A record of what is done must be a list of commands with their "
                f"seconds, as JSON. Received: {path}, which fails with: {error}. "
                "Remove it: a command that is done has little to do again."
            ) from error


def _run(argv: Sequence[str], log: pathlib.Path) -> int:
    """Runs a command; what it prints is added to a log.

    Returns:
        Its exit code; 128 + the signal of one that was killed.

    Raises:
        SystemExit: this process was asked to end. The command was too, and has.
    """
    asked: list[int] = []
    child = None

    def hand_on(number, frame):
        asked.append(number)
        if child is not None:
            child.send_signal(_HANDED_ON[number])

    numbers = tuple(_HANDED_ON)
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"$ {shlex.join(argv)}\n")
            file.flush()
            child = subprocess.Popen(
                argv,
                # A file of the user's called random.py is no module of Python's.
                env=os.environ | {"PYTHONSAFEPATH": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C comes to it through this process, once.
                start_new_session=True,
            )
        if asked:
            child.send_signal(_HANDED_ON[asked[0]])
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        print(f"ended by {signal.Signals(asked[0]).name}", flush=True)
        raise SystemExit(128 + asked[0])
    return code if code >= 0 else 128 - code


def _last_lines(log: pathlib.Path) -> str:
    """The end of what the last command has printed, behind its own line."""
    lines = log.read_text(errors="replace").rpartition("\n$ ")[2].splitlines()
    return "\n".join(f"    {line}" for line in lines[-_SHOWN_LINES:])
