"""Runs the jobs of a study and writes its report."""

import os
import pathlib

from ssgan_tf.experiments import report, results
from ssgan_tf.experiments.jobs import Campaign, select
from ssgan_tf.experiments.results import Measurement, Study
from ssgan_tf.utils import files, startup
from ssgan_tf.utils.tables import Table


def run(
    study: Study,
    *,
    output_dir: str,
    report_dir: str,
    tfds_data_dir: str | None,
    only: str | None,
    print_commands: bool,
) -> int:
    """Prints or runs the jobs of a study; writes its report after each.

    Args:
        study: the jobs to run.
        output_dir: folder of runs, logs and records.
        report_dir: folder of the report, within `output_dir`.
        tfds_data_dir: folder of prepared TFDS data sets, or None.
        only: pattern of job names, such as "*seed0"; None runs all jobs.
        print_commands: if True, prints one line per job and starts nothing.

    Returns:
        The exit code: 1 if a job failed.

    Raises:
        ValueError: no job matches; a table or record cannot be read.
        OSError: something cannot be written.
        SystemExit: this process was asked to end.
    """
    places = [f"--tfds_data_dir={tfds_data_dir}"] if tfds_data_dir else []
    campaign = Campaign(output_dir, places)
    jobs = select(study.jobs, only)
    if print_commands:
        print("\n".join(map(campaign.shell_line, jobs)))
        return 0
    print(f"{study.name}: {campaign.status(jobs)}", flush=True)
    folder = pathlib.Path(output_dir, report_dir)

    def write() -> None:
        # Only the report needs TensorFlow.
        startup.import_tensorflow()
        write_report(study, campaign, folder)

    # Fail before the first run if the report cannot be read or written.
    write()
    failed = campaign.run(jobs, write)
    print(folder / "report.md")
    return int(bool(failed))


def write_report(study: Study, campaign: Campaign, folder: str | os.PathLike) -> None:
    """Writes results.csv, the plot and report.md of the runs so far.

    Args:
        study: the jobs of the report.
        campaign: knows their run directories.
        folder: folder of the files. It is made.

    Raises:
        ValueError: a table of a run cannot be read.
        OSError: the folder cannot be written.
    """
    # matplotlib takes a second to import.
    from ssgan_tf.experiments.plots import draw
    from ssgan_tf.utils import plots

    folder = pathlib.Path(folder)
    table = Table(folder / "results.csv", Measurement)
    table.write(results.collect(study, campaign))
    # Plot and report follow from the table alone, so that anybody can make them.
    measurements = table.rows()
    picture = None
    with plots.style():
        figure = draw(measurements)
        if figure is not None:
            picture, _ = plots.save(figure, folder / study.name)
    text = report.report(study, measurements, picture and picture.name)
    files.write_text(folder / "report.md", text)
