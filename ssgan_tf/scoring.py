"""Scores of exported modules, and the table that keeps them.

`scores.csv` has one row per (checkpoint, protocol): `checkpoint`, `step`, for every
metric `<metric>_mean`, `_std` and `_list` over the seeds, `protocol`, `config`.
"""

import csv
import io
import json
import os
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from ssgan_tf import datasets, files
from ssgan_tf.evaluation import features, scores
from ssgan_tf.exporting import MOVING_MOMENTS, LoadedModule
from ssgan_tf.run_dir import RunDir

ROTATION_ACCURACY = "rotation_accuracy_test"
_SUMMARY_COLUMNS = 5


def cache_dir() -> pathlib.Path:
    """Where classifiers trained on the spot are kept, for all runs."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "ssgan_tf"


class ModuleScorer:
    """Scores modules against the test split of a data set.

    Making one loads, or trains, the feature network and extracts the features of
    the real images: whatever is missing or unfit shows before anything is trained.

    Args:
        dataset: str. A key of `datasets.DATASETS`.
        num_runs: int. Seeds 0 to num_runs - 1, one set of fakes each.
        data_dir: folder of prepared TFDS data sets, or None.
        inception_path: the Inception of TFGAN as a SavedModel folder or TF-Hub
            handle; None trains a small classifier on the data set's labels.
        strategy: on whose replicas samples are drawn and features extracted; None:
            the one in scope, one device by default. Of several workers each makes a
            scorer, and calls it, in step with the others; all get all scores.

    Attributes:
        strategy: for `exporting.load` of the modules to be scored.
        extractor: `FeatureExtractor`. The feature network.
    """

    def __init__(
        self,
        dataset: str,
        *,
        num_runs: int,
        data_dir: str | None = None,
        inception_path: str | None = None,
        strategy: tf.distribute.Strategy | None = None,
    ):
        if num_runs < 1:
            raise ValueError(
                "`--num_eval_averaging_runs` must be positive. Received: "
                f"--num_eval_averaging_runs={num_runs}."
            )
        if not inception_path and not datasets.get_spec(dataset).num_classes:
            raise ValueError(
                "Scores of a data set without labels need --inception_path: there is "
                "nothing to train a classifier on. Received: "
                f"dataset={dataset!r} and no --inception_path."
            )
        self._dataset = dataset
        self._num_runs = num_runs
        self.strategy = strategy or tf.distribute.get_strategy()
        test_images, test_labels = datasets.load_split(dataset, "test", data_dir)
        if inception_path:
            self.extractor = features.load_inception(inception_path, self.strategy)
        else:
            train_images, train_labels = datasets.load_split(dataset, "train", data_dir)
            self.extractor = features.dataset_classifier(
                dataset,
                train_images,
                train_labels,
                test_images,
                test_labels,
                datasets.get_spec(dataset).num_classes,
                str(cache_dir()),
                strategy=self.strategy,
            )
        self._test_images = test_images
        self._scorer = scores.Scorer(test_images, self.extractor)

    def protocol(self, metadata: dict) -> str:
        """All that moves the scores besides the weights: `key=value; key=value`."""
        facts = {
            "data": self._dataset,
            "split": "test",
            **self._scorer.protocol(),
            "weights": metadata["weights"],
            # Modules of earlier versions know nothing else.
            "batch_norm": metadata.get("batch_norm", MOVING_MOMENTS),
            "z": metadata["latents"]["distribution"],
            "fake_seeds": f"0-{self._num_runs - 1}",
        }
        if metadata.get("num_classes", 0):
            facts["labels"] = "uniform"
        if self.extractor.test_accuracy is not None:
            facts["extractor_test_accuracy"] = f"{self.extractor.test_accuracy:.4f}"
        return "; ".join(f"{name}={value}" for name, value in facts.items())

    def score(self, module: LoadedModule) -> dict[str, list[float]]:
        """Every metric of a module, one value per seed; rotation accuracy, one.

        The rotation accuracy is that of D on all real test images in all four
        orientations (chance 0.25), where D has a rotation head. Fakes of a
        conditional GAN have labels drawn by the seed, every class as likely.
        """
        values: dict[str, list[float]] = {}
        for seed in range(self._num_runs):
            logging.info("scoring %s, seed %d", module.path, seed)
            fake_batches = module.sample_batches(len(self._test_images), seed)
            found = self._scorer.score(map(scores.to_uint8, fake_batches))
            for name, value in found.items():
                values.setdefault(name, []).append(value)
        if module.has_rotation_head:
            # Whatever the labels, the rotation head says the same.
            labels = -1 if module.num_classes else None
            accuracy, _ = scores.rotation_accuracy(
                lambda images: module.discriminate(images, labels)["rotation_logits"],
                self._test_images.astype(np.float32) / 255.0,
            )
            values[ROTATION_ACCURACY] = [accuracy]
        return values


class ScoreTable:
    """The file `scores.csv` of a run.

    Args:
        path: the file; made with the first row.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)

    def rows(self) -> list[dict[str, str]]:
        """All rows, in the order in which they were scored.

        Raises:
            ValueError: the file is no table of scores.
        """
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if not {"step", "protocol", "weights_sha256"} <= set(reader.fieldnames or ()):
            raise ValueError(
                "A table of scores must have the columns `step`, `protocol` and "
                f"`weights_sha256`. Received: {self.path} with the columns "
                f"{reader.fieldnames}. Name another file by --score_filename, or move "
                "that one away."
            )
        return rows

    def has(self, step: int, protocol: str, weights: str) -> bool:
        """Whether these weights have been scored at this step under this protocol."""
        return any(
            _key(row) == (str(step), protocol) and row["weights_sha256"] == weights
            for row in self.rows()
        )

    def add(
        self,
        step: int,
        checkpoint: str,
        values: dict[str, list[float]],
        protocol: str,
        operative_config: str,
        weights: str,
    ) -> None:
        """Adds a row; the file is replaced as a whole.

        The row takes the place of one for the same step and protocol: that belongs
        to weights that are no more, or comes from another process.

        Args:
            step: int.
            checkpoint: str. Prefix of the checkpoint.
            values: every metric, one number per seed.
            protocol: str. What moves the scores besides the weights.
            operative_config: str. The configuration, as gin text.
            weights: str. Hash of the module's weights.
        """
        row = {"checkpoint": checkpoint, "step": str(step), "weights_sha256": weights}
        for name, numbers in values.items():
            row[f"{name}_mean"] = repr(float(np.mean(numbers)))
            row[f"{name}_std"] = repr(float(np.std(numbers)))
            row[f"{name}_list"] = json.dumps(numbers)
        row |= {"protocol": protocol, "config": operative_config}
        with files.locked(self.path.parent):
            others = [other for other in self.rows() if _key(other) != _key(row)]
            self._write([*others, row])

    def _write(self, rows: list[dict[str, str]]) -> None:
        # Metrics may differ between rows; protocol and config stay last.
        columns = list(dict.fromkeys(name for each in rows for name in each))
        columns = [name for name in columns if name not in ("protocol", "config")]
        text = io.StringIO()
        writer = csv.DictWriter(text, [*columns, "protocol", "config"], restval="")
        writer.writeheader()
        writer.writerows(rows)
        files.write_text(self.path, text.getvalue())


def _key(row: dict[str, str]) -> tuple[str, str]:
    return row["step"], row["protocol"]


def summary(run: RunDir, score_filename: str = "scores.csv") -> str:
    """The scores of a run as a table, and the paths of what to look at.

    One column per checkpoint scored under the protocol of the newest row, the first
    and the latest ones; distances of the last column are also given as a share of the
    first one's.

    Args:
        run: the run directory.
        score_filename: name of the table in it.

    Raises:
        FileNotFoundError: there are no scores.
    """
    table = ScoreTable(run.path / score_filename)
    rows = table.rows()
    if not rows:
        raise FileNotFoundError(
            f"The run must have scores in {score_filename}. Received: model_dir="
            f"{run.path}, which has none. Run with --schedule=eval_after_train."
        )
    # Numbers under different protocols cannot be compared.
    rows = [row for row in rows if row["protocol"] == rows[-1]["protocol"]]
    rows.sort(key=lambda row: int(row["step"]))
    rows = rows[:1] + rows[1:][-_SUMMARY_COLUMNS:]
    metrics = [
        name.removesuffix("_mean")
        for name, value in rows[-1].items()
        if name.endswith("_mean") and value
    ]
    width = max(map(len, metrics))
    lines = [f"{'step':<{width}}" + "".join(f"{row['step']:>10}" for row in rows)]
    for metric in metrics:
        numbers = [row[f"{metric}_mean"] for row in rows]
        cells = (f"{float(n):>10.4g}" for n in numbers)
        notes = ""
        if metric == ROTATION_ACCURACY:
            notes = "   chance 0.25"
        elif "frechet" in metric or "fid" in metric:
            share = float(numbers[-1]) / float(numbers[0])
            notes = f"   last / first {share:.3f}"
        lines.append(f"{metric:<{width}}" + "".join(cells) + notes)
    last = int(rows[-1]["step"])
    lines += ["", f"protocol: {rows[-1]['protocol']}", ""]
    pictures = sorted(run.path.glob("*.png"))
    pictures.append(run.samples / f"{last}.png")
    for what, path in [
        *(("picture", path) for path in pictures),
        ("TF-Hub module", run.module(last)),
        ("scores", table.path),
        ("curves", run.tensorboard),
    ]:
        if path.exists():
            lines.append(f"{what:<14}{path}")
    return "\n".join(lines)
