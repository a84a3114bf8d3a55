"""What a score depends on besides the images that it judges.

Most disputes over scores are differences of these facts. They are written beside every
score, and scores are compared only where all of them are equal.
"""

import dataclasses
import importlib.metadata
import re

_PACKAGES = ("tensorflow", "keras", "tensorflow-gan", "numpy", "scipy", "scikit-learn")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The facts; as text `key=value; key=value`. None is left out.

    Attributes:
        data, split: which real images.
        data_hash: of these images.
        real_count, fake_count: int. How many of either.
        resolution: str. `HxWxC` of both.
        extractor, extractor_hash: the feature network, and the hash of its weights.
        resize: what happens to the size of images before that network.
        weights: "ema" or "raw": which weights of G.
        batch_norm: whose moments G's batch norms use.
        tags: of a published module's graph.
        z: distribution of the latents.
        labels: of the fakes of a conditional GAN.
        fake_seeds: seeds of the sets of fakes.
        rounding: of the images before the network.
        seed: int. Of what is drawn while scoring.
        covariance_divisor: of the Frechet distance.
        classifier_score_splits: int. Parts that the Inception Score averages over.
        kernel_block_size: int. Images per block of the kernel distance, at most.
        swd_count: int. Images that the sliced Wasserstein distance looks at.
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
    """The facts of a protocol's text, by key."""
    return dict(fact.partition("=")[::2] for fact in text.split("; "))


def differences(texts: list[str]) -> dict[str, list[str]]:
    """The keys whose values differ, each with the value in every text, or "-"."""
    every = [facts_of(text) for text in texts]
    keys = dict.fromkeys(key for facts in every for key in facts)
    values = {key: [facts.get(key, "-") for facts in every] for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def is_distance(metric: str) -> bool:
    """Whether a score is the Frechet distance itself, not the end of its interval."""
    return re.match(r"(fid|frechet)_(?!low_|high_)", metric) is not None


def count_name(count: int) -> str:
    """A number of images as names of scores have it: 10k, 2048, 397."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def versions() -> str:
    """Versions of what computes; recorded beside scores, but no part of the protocol.

    Scores of one protocol under two versions are meant to be equal, and comparable.
    """
    return "; ".join(f"{name}={importlib.metadata.version(name)}" for name in _PACKAGES)
