r"""Scores a module: ours, or a published one in TensorFlow 1's format.

    ssgan evaluate --module=run/tfhub/1600
    ssgan evaluate --module=published.tar.gz --dataset=cifar10 --metrics=fid,kid \
        --num_fakes=5000 --inception_path=inception --out=scores.csv

Prints every score with its protocol. `--out` adds them to a table, which `ssgan
compare` reads.
"""

from absl import app, flags

from ssgan_tf.commands import module_flags, score_flags, strategy_flags
from ssgan_tf.commands.main import run
from ssgan_tf.utils import startup

flags.mark_flag_as_required("module")
for _module in (module_flags, score_flags, strategy_flags):
    # Shown by --help.
    flags.adopt_module_key_flags(_module)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set of the real images; default: what it was trained on."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Sets of fakes, of the seeds 0, 1, ...", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "Table of scores to add a row to, a CSV file.")


def main(argv):
    if _OUT.value and not _OUT.value.endswith(".csv"):
        raise app.UsageError(f"--out must end in .csv. Received: --out={_OUT.value}.")
    options = score_flags.scoring(_SEEDS.value)
    startup.import_tensorflow()
    from ssgan_tf.evaluation import module_scorer, score_table
    from ssgan_tf.evaluation.score_table import ScoreTable
    from ssgan_tf.utils import strategies

    table = ScoreTable(_OUT.value) if _OUT.value else None
    if table:
        # A file that is no table must show before the scores are computed.
        table.rows()
    strategy = strategy_flags.get_strategy()
    module = module_flags.load(strategy)
    dataset = _DATASET.value or module.metadata.get("dataset")
    if not dataset:
        raise app.UsageError(
            "A module must say what it was trained on, or --dataset must. Received: "
            f"--module={module.path}, which does not. Add --dataset=NAME."
        )
    module_scorer.check_shape(module, dataset)
    scorer = module_scorer.ModuleScorer(
        dataset, options, data_dir=score_flags.data_dir(), strategy=strategy
    )
    scorer.check_labels(module.num_classes)
    found = scorer.score(module)
    protocol = scorer.protocol(module.metadata)
    if not strategies.Workers(strategy).is_chief:
        return
    print(score_table.report(found, protocol))
    if table:
        table.add(
            module.metadata.get("step", 0),
            module.path,
            found,
            protocol,
            module.metadata.get("config", ""),
            module.metadata["weights_sha256"],
            scorer.metrics,
        )
        print(f"added to {table.path}")


if __name__ == "__main__":
    run(main)
