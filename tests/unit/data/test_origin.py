"""Features far from zero: what float32 would lose of them is kept as the distance from an origin."""

from pathlib import Path

import numpy as np
import pytest

from sapflow.data.blocks import cut_blocks
from sapflow.data.chunks import Chunk, Source
from sapflow.data.dealing import Share
from sapflow.data.manifest import Manifest
from sapflow.data.order import Orders
from sapflow.data.origin import far_origin
from sapflow.data.sampler import Reader
from sapflow.data.statistics import Normalize
from sapflow.objects.stores.factory import open_store

RNG = np.random.default_rng(0)
SECONDS = 1_700_000_000 + RNG.integers(0, 480, 500)
NOISE = RNG.normal(size=500).round(3)


def cut(
    features: np.ndarray, folder: Path, normalize: Normalize = "Auto", rows: int = 100
) -> tuple[Manifest, np.ndarray, np.ndarray]:
    """The manifest, scaled features in the order of the source, and the stored ones' scale."""
    targets = np.arange(len(features), dtype=np.float64) + 0.5
    chunks = [
        Chunk(features[start : start + rows], targets[start : start + rows], "set", start)
        for start in range(0, len(features), rows)
    ]
    store = open_store(str(folder))
    manifest = cut_blocks(
        Source("set", lambda: iter(chunks)), store, "d/", validation_fraction=0.0, seed=0, normalize=normalize
    )
    everything = Share(0, len(features), 4, 0, len(features))
    found, order = Reader(store, "d/", manifest).batch(Orders(manifest.train, 0).locate(0, [everything]))
    return manifest, found[np.argsort(order)], np.array(manifest.scale)


def test_seconds_within_minutes_are_standardised(tmp_path: Path) -> None:
    features = np.stack([SECONDS, NOISE], axis=1)
    manifest, found, _ = cut(features, tmp_path)
    wanted = (features - features.mean(axis=0)) / features.std(axis=0)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert len(manifest.origin) == 2
    assert manifest.origin[0] in SECONDS
    assert manifest.origin[1] == 0.0
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("rows", [1, 7, 500])
def test_chunks_of_any_size_keep_what_tells_seconds_apart(rows: int, tmp_path: Path) -> None:
    _, found, _ = cut(SECONDS[:, None].astype(np.float64) + 0.25, tmp_path, rows=rows)
    wanted = (SECONDS - SECONDS.mean()) / SECONDS.std()
    np.testing.assert_allclose(found[:, 0], wanted, atol=2e-6)


@pytest.mark.parametrize(
    "features",
    [
        NOISE[:, None],
        np.arange(500)[:, None],
        SECONDS.astype(np.float32)[:, None],
        RNG.integers(0, 2**24, (500, 3)),
    ],
    ids=["decimals", "small whole numbers", "float32 already", "large whole numbers"],
)
def test_features_that_float32_holds_keep_their_bytes(features: np.ndarray, tmp_path: Path) -> None:
    assert far_origin(features) is None
    assert cut(features, tmp_path)[0].origin == ()
    assert "origin" not in cut(features, tmp_path)[0].to_json()


@pytest.mark.parametrize("normalize", ["None", "Scale"])
def test_features_that_are_not_standardised_have_no_origin(normalize: Normalize, tmp_path: Path) -> None:
    manifest, _, _ = cut(SECONDS[:, None], tmp_path, normalize)
    assert manifest.origin == ()


def test_a_feature_that_is_constant_at_first_may_lie_far_away(tmp_path: Path) -> None:
    values = np.full(500, 1_700_000_000.0)
    values[250:] += np.arange(250)
    _, found, _ = cut(values[:, None], tmp_path)
    np.testing.assert_allclose(found[:, 0], (values - values.mean()) / values.std(), atol=2e-6)


def test_samples_of_several_dimensions_share_one_origin(tmp_path: Path) -> None:
    features = 1e8 + RNG.normal(size=(500, 2, 3))
    manifest, found, _ = cut(features, tmp_path)
    assert len(manifest.origin) == 1
    wanted = (features - features.mean()) / features.std()
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_an_outlier_is_no_origin() -> None:
    values = SECONDS.astype(np.float64)
    values[0] = 0.0
    # One missing value as 0 spreads the feature so far that float32 is enough: nothing is gained by an origin.
    assert far_origin(values[:, None]) is None
    origin = far_origin(np.stack([SECONDS, values], axis=1))
    assert origin is not None
    assert origin[0] > 1e9
