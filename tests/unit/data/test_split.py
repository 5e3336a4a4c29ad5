"""How samples are held out: at random, from each class in proportion, or by whole groups."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers.memory import peak_bytes

from sapflow.data import survey
from sapflow.data.blocks import cut_blocks
from sapflow.data.chunks import Chunk, Part, Source
from sapflow.data.group_split import digests, held_groups
from sapflow.data.manifest import Manifest, block_key, decode_block
from sapflow.data.source import open_data
from sapflow.data.split import Split, split_for
from sapflow.errors import DataError
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.learning import DataSpec
from sapflow.tasks.classification import Classification

RNG = np.random.default_rng(11)
PARTS: tuple[Part, ...] = ("train", "validation")


def cut(store: Store, seed: int = 0, **fields: Any) -> Manifest:
    data = DataSpec.model_validate(fields)
    return cut_blocks(
        open_data(data),
        store,
        "p/",
        validation_fraction=data.validation_fraction,
        seed=seed,
        split=data.split,
        normalize="None",
    )


def refused(store: Store, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        cut(store, **fields)
    return str(caught.value)


def part(store: Store, manifest: Manifest, name: Part) -> tuple[np.ndarray, np.ndarray]:
    blocks = [
        decode_block(store.read(key := block_key("p/", name, index)), key, manifest, count)
        for index, count in enumerate(manifest.blocks(name))
    ]
    return np.concatenate([x for x, _ in blocks]), np.concatenate([y for _, y in blocks])


def table(path: Path, labels: Sequence[object], **columns: Sequence[object]) -> str:
    """A CSV file with the row's number as its feature."""
    frame = pandas.DataFrame({"number": np.arange(len(labels)) + 0.5, **columns, "label": labels})
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return str(path)


# Stratified


def stratified(fraction: float, seed: int = 0) -> Split:
    first = np.zeros(1, np.int32)
    return split_for("Stratified", fraction, seed, task=Classification, targets=first, grouped=False)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 1 / 3, 0.5, 0.9])
def test_each_class_gives_the_number_nearest_to_the_fraction_at_every_moment(fraction: float) -> None:
    targets = RNG.choice(7, 5000, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.015, 0.005]).astype(np.int32)
    split = stratified(fraction)
    held = np.zeros(0, bool)
    for index, start in enumerate(range(0, len(targets), 700)):
        held = np.append(held, split.held(targets[start : start + 700], index, None))
        seen = targets[: len(held)]
        for label in range(7):
            there, out = (seen == label).sum(), held[seen == label].sum()
            assert out == min(np.floor(fraction * there + 0.5), max(there - 1, 0))


def test_a_class_of_a_single_sample_is_trained_on() -> None:
    held = stratified(0.9).held(np.array([0, 1, 1, 1, 1], np.int32), 0, None)
    assert not held[0]
    assert held.sum() == 3


def test_samples_of_a_class_are_drawn_at_random_and_alike_each_time() -> None:
    targets = np.repeat(np.arange(2, dtype=np.int32), 500)
    first = stratified(0.2).held(targets, 0, None)
    np.testing.assert_array_equal(first, stratified(0.2).held(targets, 0, None))
    assert (first != stratified(0.2, seed=1).held(targets, 0, None)).any()
    # Not the first ones, nor the last.
    assert 20 < np.flatnonzero(first[:500]).mean() < 480
    assert np.flatnonzero(first[:500]).std() > 80


def test_counts_of_classes_grow_with_the_classes_and_not_with_the_samples() -> None:
    split = stratified(0.2)
    targets = RNG.integers(0, 100, 1000).astype(np.int32)
    split.held(targets, 0, None)

    def hold_out(groups: int) -> None:
        for index in range(1, groups):
            split.held(targets, index, None)

    # To keep the samples would take 2 MB more.
    limit = peak_bytes(lambda: hold_out(10)) + 1_000_000
    assert peak_bytes(lambda: hold_out(500), enough=limit) < limit


@pytest.mark.parametrize("words", [False, True])
def test_a_stratified_cut_has_the_classes_of_the_source_in_both_parts(
    words: bool, directory_store: Store, tmp_path: Path
) -> None:
    labels = RNG.permutation(np.repeat([0, 1, 2], [3000, 900, 30]))
    shown = [["no", "yes", "maybe"][each] for each in labels] if words else labels.tolist()
    source = table(tmp_path / "s.csv", shown)
    manifest = cut(directory_store, source=source, split="Stratified", validation_fraction=0.1)
    counted: dict[Part, list[int]] = {
        name: sorted(np.bincount(part(directory_store, manifest, name)[1])) for name in PARTS
    }
    assert counted == {"train": [27, 810, 2700], "validation": [3, 90, 300]}
    numbers = np.concatenate([part(directory_store, manifest, name)[0][:, 0] for name in counted])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(3930) + 0.5)
    found = survey.survey(DataSpec(source=source, split="Stratified", validation_fraction=0.1), "").manifest
    assert (found.train_samples, found.validation_samples) == (3537, 393)


def test_random_is_what_is_done_where_nothing_is_said(tmp_path: Path) -> None:
    source = table(tmp_path / "s.csv", [0, 1] * 600)
    stores = [open_store(str(tmp_path / name)) for name in ("a", "b")]
    cut(stores[0], source=source)
    cut(stores[1], source=source, split="Random")
    for key in ("p/train/0", "p/validation/0", "p/manifest.json"):
        assert bytes(stores[0].read(key)) == bytes(stores[1].read(key))


def test_strata_are_classes_one_a_sample(directory_store: Store, tmp_path: Path) -> None:
    values = table(tmp_path / "values.csv", RNG.normal(size=50).tolist())
    assert "is for classes, one a sample" in refused(directory_store, source=values, split="Stratified")
    several = table(tmp_path / "several.csv", [0, 1] * 20, other=[1, 0] * 20)
    said = refused(
        directory_store, source=several, split="Stratified", options={"targets": ["label", "other"]}
    )
    assert "those of multilabel: leave split out" in said


def test_what_brings_a_validation_set_is_not_split(directory_store: Store, tmp_path: Path) -> None:
    x, y = np.zeros((8, 2)), np.arange(8) % 2
    np.savez(tmp_path / "s.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    said = refused(directory_store, source=str(tmp_path / "s.npz"), split="Stratified")
    assert "brings a validation set of its own" in said
    assert "leave data.split out" in said
    with pytest.raises(DataError, match=r"leave data\.split out"):
        survey.survey(DataSpec(source=str(tmp_path / "s.npz"), split="Stratified"), "")


# Groups


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_group_is_on_one_side_and_its_column_is_no_feature(
    ending: str, directory_store: Store, tmp_path: Path
) -> None:
    who = np.random.default_rng(1).permutation(3000) % 200
    source = table(tmp_path / f"s.{ending}", (np.arange(3000) % 2).tolist(), who=[f"p{each}" for each in who])
    options = {"group": "who", "target": "label"}
    manifest = cut(directory_store, source=source, options=options)
    assert (manifest.shape, manifest.columns) == ((1,), ("number",))
    sides = [
        {int(who[int(number)]) for number in part(directory_store, manifest, name)[0][:, 0]} for name in PARTS
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0]) + len(sides[1]) == 200
    assert 400 < manifest.validation_samples < 800
    found = survey.survey(DataSpec(source=source, options=options), "")
    assert found.grouped
    assert found.manifest.validation_samples == manifest.validation_samples
    assert found.manifest.columns == ("number",)


def test_the_seed_chooses_the_groups(tmp_path: Path) -> None:
    source = table(tmp_path / "s.csv", [0, 1] * 500, who=[f"p{each // 10}" for each in range(1000)])
    cuts = []
    for number, seed in enumerate((0, 0, 1)):
        store = open_store(str(tmp_path / str(number)))
        manifest = cut(store, seed, source=source, options={"group": "who"})
        cuts.append(sorted(part(store, manifest, "validation")[0][:, 0].tolist()))
    assert cuts[0] == cuts[1] != cuts[2]


def test_a_group_is_the_same_in_every_format_and_file(tmp_path: Path) -> None:
    who = [each % 40 for each in range(400)]
    parts = []
    written: list[tuple[str, Sequence[object]]] = [
        ("a.csv", who),
        ("a.parquet", who),
        ("b.parquet", [str(each) for each in who]),
        ("c.parquet", [float(each) for each in who]),
    ]
    for number, (name, column) in enumerate(written):
        source = table(tmp_path / name, [0, 1] * 200, who=column)
        store = open_store(str(tmp_path / str(number)))
        manifest = cut(store, source=source, options={"group": "who"})
        parts.append(sorted(part(store, manifest, "validation")[0][:, 0].tolist()))
    assert parts == [parts[0]] * 4


def test_digests_and_the_choice_are_the_same_on_every_machine() -> None:
    found = digests(["a", "b", "a", "ü"])
    assert found.tolist() == [
        int.from_bytes(bytes.fromhex(each), "little")
        for each in ("40f89e395b66422f", "8472c2e34d854f75", "40f89e395b66422f", "55f19df5c1392f37")
    ]
    chosen = held_groups(digests(map(str, range(40))), 0.25, 7)
    assert np.flatnonzero(chosen).tolist() == [2, 4, 7, 12, 19, 23, 26, 29, 30, 33, 35, 37]


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_of_many_groups_the_part_is_near_the_fraction(seed: int) -> None:
    groups = digests(f"patient-{number}" for number in range(50_000))
    for fraction in (0.0, 0.1, 0.5, 0.999):
        assert held_groups(groups, fraction, seed).mean() == pytest.approx(fraction, abs=0.01)


def test_nothing_is_kept_of_a_group(directory_store: Store) -> None:
    """Every sample is a group of its own."""

    def source(samples: int) -> Source:
        def chunks() -> Iterator[Chunk]:
            for start in range(0, samples, 1000):
                names = digests(str(number) for number in range(start, start + 1000))
                yield Chunk(np.zeros((1000, 1)), np.arange(1000) % 2, "s", start, groups=names)

        return Source("s", chunks)

    def cut_groups(samples: int) -> None:
        prefix = f"{next(folders)}/"
        cut_blocks(
            source(samples), directory_store, prefix, validation_fraction=0.2, seed=0, block_bytes=50_000
        )

    folders = count()
    least = peak_bytes(lambda: cut_groups(20_000))
    limit = least + 180_000 * 8 // 2  # Half of what the digests of the other groups would take.
    assert peak_bytes(lambda: cut_groups(200_000), enough=limit) < limit


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["a", "", "b", "b"], "line 3, column who: there is no group"),
        (["a", None, "b", "b"], "row 1 (the first is 0), column who: there is no"),
        ([b"a", b"b", b"c", b"c"], "column who: a column of bytes"),
        ([0.5, float("nan"), 1, 1], "column who: there is no"),
    ],
)
def test_a_row_without_a_group_is_refused_with_its_place(
    column: list[object], said: str, directory_store: Store, tmp_path: Path
) -> None:
    ending = "csv" if "" in column else "parquet"
    source = table(tmp_path / f"s.{ending}", [0, 1, 0, 1], who=column)
    assert said in refused(directory_store, source=source, options={"group": "who"})


def test_the_group_is_a_column_of_its_own(directory_store: Store, tmp_path: Path) -> None:
    source = table(tmp_path / "s.csv", [0, 1] * 20, who=[1] * 40)
    assert "names the target" in refused(directory_store, source=source, options={"group": "label"})
    assert "has no column 'nobody' for the group" in refused(
        directory_store, source=source, options={"group": "nobody"}
    )
    assert 'write the name as "no"' in refused(directory_store, source=source, options={"group": False})
    only = table(tmp_path / "only.csv", [0, 1] * 20)
    assert "a feature is needed" in refused(directory_store, source=only, options={"group": "number"})
    np.savez(tmp_path / "s.npz", x=np.zeros((8, 2)), y=np.arange(8) % 2)
    said = refused(directory_store, source=str(tmp_path / "s.npz"), options={"group": "who"})
    assert "Allowed options: task, classes, features, targets" in said


def test_groups_are_told_by_place_in_files_without_a_header(directory_store: Store, tmp_path: Path) -> None:
    rows = "\n".join(f"{number}.5,p{number // 10},{number % 2}" for number in range(400))
    (tmp_path / "s.csv").write_text(rows)
    manifest = cut(directory_store, source=str(tmp_path / "s.csv"), options={"group": 1, "header": "Absent"})
    assert manifest.shape == (1,)
    numbers = part(directory_store, manifest, "validation")[0][:, 0].astype(int)
    assert len(numbers) % 10 == 0
    assert all((numbers // 10 == group).sum() == 10 for group in set(numbers // 10))


def test_one_group_too_large_leaves_nothing_in_words(directory_store: Store, tmp_path: Path) -> None:
    names = [name for name in "abcdefgh" if held_groups(digests([name]), 0.5, 0)[0]]
    source = table(tmp_path / "s.csv", [0, 1] * 20, who=[names[0]] * 40)
    fields: dict[str, Any] = {"source": source, "options": {"group": "who"}, "validation_fraction": 0.5}
    assert "leaves no sample to train on" in refused(directory_store, **fields)
    with pytest.raises(DataError, match="leaves no sample to train on"):
        survey.survey(DataSpec.model_validate(fields), "")
