from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.algorithms.optimizers import Group, Grouping, OptimizerSettings
from sapflow.algorithms.parameter_groups import MAX_RANGES, Asked, resolve
from sapflow.errors import SpecError

ADAMW, LAMB = OptimizerSettings.of("AdamW"), OptimizerSettings.of("LAMB")


def layout(*tensors: tuple[str, int], kind: str = "parameter") -> list[dict[str, Any]]:
    entries, offset = [], 0
    for name, size in tensors:
        entries.append({"name": name, "kind": kind, "shape": [size], "offset": offset})
        offset += size
    return entries


MODEL = layout(
    ("embed.weight", 10),
    ("block.norm.weight", 2),
    ("block.norm.bias", 2),
    ("head.weight", 6),
    ("head.bias", 3),
)


def test_the_first_group_that_matches_wins_and_neighbours_of_one_group_are_one_range() -> None:
    asked = [Asked(("*.bias", "*norm*"), weight_decay=0.0), Asked(("head.*",), factor=10.0)]
    found = resolve(asked, MODEL, ADAMW)
    assert found == Grouping(
        (Group(0.0), Group(0.01, 10.0), Group(0.01)), ((10, 2), (14, 0), (20, 1), (23, 0))
    )


def test_without_groups_parameters_are_treated_alike_and_a_layerwise_optimizer_knows_each_tensor() -> None:
    assert resolve([], MODEL, ADAMW) is None
    found = resolve([], MODEL, LAMB)
    assert found == Grouping((Group(0.0),), ((10, 0), (12, 0), (14, 0), (20, 0), (23, 0)))


def test_buffers_and_integers_have_no_group() -> None:
    entries = [*MODEL, *({**one, "offset": 23} for one in layout(("norm.mean", 5), kind="buffer"))]
    found = resolve([Asked(("*.weight",))], [*entries, *layout(("count", 1), kind="raw")], ADAMW)
    assert found is not None
    assert found.size == 23


def test_a_tied_parameter_belongs_to_the_first_group_that_matches_any_of_its_names() -> None:
    tied = [*layout(("embed.weight", 4), ("head.bias", 2)), *layout(("head.weight", 4))]
    found = resolve([Asked(("head.weight",), weight_decay=0.5), Asked(("embed.*",))], tied, ADAMW)
    assert found is not None
    assert found.ranges == ((4, 0), (6, 2))


def test_a_pattern_that_matches_nothing_is_named_with_the_nearest_names() -> None:
    asked = [Asked(("*.bias",)), Asked(("head.*", "heda.weight"))]
    with pytest.raises(SpecError) as caught:
        resolve(asked, MODEL, ADAMW)
    ((field, message),) = caught.value.problems
    assert field == "spec.optimizer.groups[1].match[1]"
    assert "'heda.weight' matches none of the model's 5 parameters" in message
    assert "the nearest names are head.weight" in message


def test_more_ranges_than_a_request_can_carry_are_refused() -> None:
    tensors = [(f"layer{each}.{kind}", 1) for each in range(MAX_RANGES) for kind in ("weight", "bias")]
    with pytest.raises(SpecError, match="16,384 are the most"):
        resolve([Asked(("*.bias",))], layout(*tensors), ADAMW)
    assert resolve([Asked(("layer*",))], layout(*tensors), ADAMW) is not None


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.data())
def test_a_part_of_a_grouping_has_each_element_in_the_group_that_the_whole_has_it_in(
    sizes: list[int], data: st.DataObject
) -> None:
    stops = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    grouping = Grouping((Group(0.0), Group(0.1)), tuple((stop, i % 2) for i, stop in enumerate(stops)))
    start = data.draw(st.integers(0, stops[-1]))
    stop = data.draw(st.integers(start, stops[-1] + 20))

    def members(one: Grouping) -> list[int]:
        found: list[int] = []
        for end, group in one.ranges:
            found += [group] * (end - len(found))
        return found

    assert members(grouping.between(start, stop)) == members(grouping)[start:stop]


@pytest.mark.parametrize("ranges", [((3, 0), (3, 0)), ((0, 0),), ((3, 0), (2, 0)), ((3, 1),), ((3, -1),)])
def test_ranges_that_cannot_be_are_refused(ranges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError):
        Grouping((Group(0.0),), ranges)
