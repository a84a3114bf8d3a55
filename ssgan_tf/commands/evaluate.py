r"""Scores a module: ours, or a published one in TensorFlow 1's format.

    ssgan evaluate --module=run/tfhub/1600
    ssgan evaluate --module=published.tar.gz --dataset=cifar10 --metrics=fid,kid \
        --num_fakes=5000 --inception_path=inception --out=scores.csv

Prints every score with its protocol. `--out` adds them to a table that `ssgan compare`
reads.
"""

from absl import app, flags

from ssgan_tf.commands import flags as shared
from ssgan_tf.utils import startup

shared.define_module_flags(required=True)
shared.define_scoring_flags()
shared.define_strategy_flags()
_TFDS_DATA_DIR = shared.define_data_flag()
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set of the real images. Default: that of the training."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Number of sets of fakes, drawn with seeds 0, 1, ...", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "CSV table of scores to add a row to.")


def main(argv):
    if _OUT.value and not _OUT.value.endswith(".csv"):
        raise app.UsageError(f"--out must end in .csv. Received: --out={_OUT.value}.")
    startup.import_tensorflow()
    options = shared.scoring_options(_SEEDS.value)
    from ssgan_tf.evaluation import module_scorer, score_table
    from ssgan_tf.evaluation.score_table import ScoreTable
    from ssgan_tf.utils import strategies

    table = ScoreTable(_OUT.value) if _OUT.value else None
    if table:
        # Fail before the scores are computed if the file is no table.
        table.rows()
    strategy = shared.get_strategy()
    module = shared.load_module(strategy)
    dataset = _DATASET.value or module.metadata.get("dataset")
    if not dataset:
        raise app.UsageError(
            f"--dataset must name a data set: --module={module.path} records none."
        )
    module_scorer.check_shape(module, dataset)
    scorer = module_scorer.ModuleScorer(
        dataset, options, data_dir=_TFDS_DATA_DIR.value, strategy=strategy
    )
    scorer.check_labels(module.num_classes)
    scores = scorer.score(module)
    protocol = scorer.protocol(module.metadata)
    if not strategies.Workers(strategy).is_chief:
        return
    print(score_table.report(scores, protocol))
    if table:
        table.add(
            scores,
            step=module.metadata.get("step", 0),
            checkpoint=module.path,
            weights_sha256=module.metadata["weights_sha256"],
            protocol=protocol,
            config=module.metadata.get("config", ""),
            metrics=scorer.metrics,
        )
        print(f"added to {table.path}")
