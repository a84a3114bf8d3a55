"""The flags and the course of the binaries that run many jobs."""

import os
import pathlib

from absl import flags

from ssgan_tf.experiments import report, results
from ssgan_tf.experiments.jobs import Campaign, selected
from ssgan_tf.experiments.plots import draw
from ssgan_tf.experiments.results import Study
from ssgan_tf.utils import files, plots, startup

_ONLY = flags.DEFINE_string(
    "only", None, "Run only jobs whose names match, such as *seed0. The rest is listed."
)
_PRINT_COMMANDS = flags.DEFINE_bool(
    "print_commands", False, "Print one line per job, for a scheduler; start nothing."
)


def run(
    experiment: Study,
    *,
    output_dir: str,
    report_dir: str,
    tfds_data_dir: str | None,
) -> int:
    """Prints or runs the jobs of an experiment; writes its report after each.

    Args:
        experiment: what to run.
        output_dir: folder of runs, logs and records.
        report_dir: folder of the report, in there.
        tfds_data_dir: folder of prepared TFDS data sets, or None.

    Returns:
        The exit code: 1 if a job failed.

    Raises:
        ValueError: no job matches; a table or record cannot be read.
        OSError: something cannot be written.
        SystemExit: this process was asked to end.
    """
    places = [f"--tfds_data_dir={tfds_data_dir}"] if tfds_data_dir else []
    campaign = Campaign(output_dir, places)
    jobs = selected(experiment.jobs, _ONLY.value)
    if _PRINT_COMMANDS.value:
        print("\n".join(map(campaign.line, jobs)))
        return 0
    print(f"{experiment.name}: {campaign.plan(jobs)}", flush=True)
    folder = pathlib.Path(output_dir, report_dir)

    def write() -> None:
        # Plots and tables need TensorFlow and matplotlib, the commands do not.
        startup.import_tensorflow()

        write_report(experiment, campaign, folder)

    # What cannot be written or read must show before the first run.
    write()
    failed = campaign.run(jobs, write)
    print(folder / "report.md")
    return int(bool(failed))


def write_report(
    experiment: Study, campaign: Campaign, folder: str | os.PathLike
) -> None:
    """Writes results.csv, the plot and report.md of what there is so far.

    Args:
        experiment: what it is about.
        campaign: where its runs lie.
        folder: of the files; made.

    Raises:
        ValueError: a table of a run cannot be read.
        OSError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    results.write(folder / "results.csv", results.collect(experiment, campaign))
    # Made of the table alone, so that anybody can.
    numbers = results.read(folder / "results.csv")
    picture = None
    with plots.style():
        figure = draw(numbers)
        if figure is not None:
            picture, _ = plots.save(figure, folder / experiment.name)
    files.write_text(
        folder / "report.md",
        report.report(experiment, numbers, picture and picture.name),
    )
