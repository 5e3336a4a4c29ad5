"""Which levels of a merge tree are inline."""

import pytest

from sapflow.planning.inline import CONTRIBUTION, REQUEST, STEP, inline_levels, misfit, version_travels

KIB = 1 << 10


@pytest.mark.parametrize(
    ("tree", "shards", "kib", "levels"),
    [
        ((1, 2, 8), 1, 16, (0, 1)),
        ((1, 2, 8), 1, 256, (0, 1)),
        # One contribution is too large by itself; in two shards it is not.
        ((1, 2, 8), 1, 257, ()),
        ((1, 2, 8), 2, 257, (0, 1)),
        # Seventeen children of 256 KiB are more than a request may carry.
        ((1, 17), 1, 256, ()),
        # The workers' level is too wide for one step, and the level above is not.
        ((1, 10, 200), 1, 200, (1,)),
        ((1, 1), 1, 1, (0,)),
    ],
)
def test_a_level_is_inline_where_every_bound_holds(
    tree: tuple[int, ...], shards: int, kib: int, levels: tuple[int, ...]
) -> None:
    assert inline_levels(tree, shards, kib * KIB // 4) == levels


def test_the_bounds_are_those_that_the_documentation_names() -> None:
    assert (CONTRIBUTION, REQUEST, STEP) == (256 * KIB, 4096 * KIB, 32 * 1024 * KIB)


def test_a_version_travels_only_as_far_as_its_copies_are_few_and_small() -> None:
    assert version_travels(42_601, 2 * 42_601, workers=12)
    assert not version_travels(42_601, 2 * 42_601, workers=13), "2 MiB of copies"
    assert not version_travels(42_601, 4 * 42_601, workers=1), "512 KiB in the root's answer"
    assert not version_travels(65_537, 0, workers=1), "256 KiB of parameters"


def test_a_platform_that_takes_less_in_a_request_has_fewer_levels_inline() -> None:
    assert inline_levels((1, 2, 8), 1, 64 * KIB) == (0, 1)
    assert inline_levels((1, 2, 8), 1, 64 * KIB, request_bytes=700 * KIB) == (1,)


def test_what_does_not_fit_is_said_with_its_size_and_the_remedy() -> None:
    assert misfit((1, 2, 8), 1, 16 * KIB) is None
    said = misfit((1, 2, 8), 1, 512 * KIB)
    assert said is not None
    assert "2.0 MiB (at most 256.0 KiB)" in said
    assert "leave spec.merge.channel out" in said
