"""The protocol of a score: all that it depends on besides the images it judges.

Most disputes over scores are differences of protocol. The protocol is recorded with
every score, and only scores of equal protocols are compared.
"""

import dataclasses
import importlib.metadata
import re

_PACKAGES = ("tensorflow", "keras", "tensorflow-gan", "numpy", "scipy", "scikit-learn")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The facts of a protocol. As text: `key=value; key=value`, without None.

    Attributes:
        data, split: data set and split of the real images.
        data_hash: hash of the real images.
        real_count, fake_count: int. Numbers of real and of fake images.
        resolution: str. `HxWxC` of both.
        extractor, extractor_hash: the feature network, and the hash of its weights.
        resize: how images are resized for that network.
        weights: "ema" or "raw": G's averaged or trained weights.
        batch_norm: the moments that G's batch norms use.
        tags: tags of a published module's graph.
        z: distribution of the latents.
        labels: distribution of the fakes' labels, in a conditional GAN.
        fake_seeds: seeds of the sets of fakes.
        rounding: rounding of the images before the network.
        seed: int. Seed of the metrics' random numbers.
        covariance_divisor: divisor of the covariances in the Frechet distance.
        classifier_score_splits: int. Parts that the Inception Score averages over.
        kernel_block_size: int. Largest block of the kernel distance, in images.
        swd_count: int. Images in the sliced Wasserstein distance.
        ms_ssim: pairs and scales.
        prd: clusters and runs.
        neighbours: k of precision and recall, and of density and coverage.
    """

    data: str
    split: str
    data_hash: str
    real_count: int
    fake_count: int
    resolution: str
    extractor: str
    extractor_hash: str | None
    resize: str | None
    weights: str
    batch_norm: str
    tags: str | None
    z: str
    labels: str | None
    fake_seeds: str
    rounding: str
    seed: int
    covariance_divisor: str
    classifier_score_splits: int
    kernel_block_size: int
    swd_count: int
    ms_ssim: str | None
    prd: str
    neighbours: str

    def __str__(self) -> str:
        facts = dataclasses.asdict(self).items()
        return "; ".join(f"{key}={value}" for key, value in facts if value is not None)


def facts_of(text: str) -> dict[str, str]:
    """Parses the text of a protocol."""
    return dict(fact.partition("=")[::2] for fact in text.split("; "))


def differences(texts: list[str]) -> dict[str, list[str]]:
    """Returns the keys whose values differ, with the value in every text, or "-"."""
    protocols = [facts_of(text) for text in texts]
    keys = dict.fromkeys(key for facts in protocols for key in facts)
    rows = {key: [facts.get(key, "-") for facts in protocols] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def is_distance(metric: str) -> bool:
    """Whether a score is a Frechet distance, not an end of its interval."""
    return re.match(r"(fid|frechet)_(?!low_|high_)", metric) is not None


def count_name(count: int) -> str:
    """A number of images as in the names of scores: 10k, 2048, 397."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def versions() -> str:
    """Versions of the packages that compute scores; not part of the protocol.

    Scores of one protocol are comparable whatever the versions.
    """
    return "; ".join(f"{name}={importlib.metadata.version(name)}" for name in _PACKAGES)
