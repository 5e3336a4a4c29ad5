import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.quantities.memory import (
    MERGER_BASE,
    MIB,
    WORKER_BASE,
    estimate_merger,
    estimate_worker,
    format_bytes,
    format_quantity,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("64Ki", 64 << 10),
        ("512Mi", 512 << 20),
        ("2Gi", 2 << 30),
        ("1.5Gi", 3 << 29),
        ("250k", 250_000),
        ("256M", 256_000_000),
        ("1G", 10**9),
        ("0.0001k", 1),
    ],
)
def test_quantities_follow_the_grammar_of_kubernetes(text: str, size: int) -> None:
    assert parse_quantity(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "-1Gi", "1 Gi", "1e9Mi", "1,5Gi", "0", "0Mi", "nan", "٣Mi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "meant"), [("512MB", "M"), ("512m", "Mi or M"), ("1gib", "Gi"), ("512mi", "Mi")]
)
def test_a_near_miss_of_a_unit_is_answered_with_the_unit_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        parse_quantity(text)


@given(st.integers(1, 1 << 50))
def test_formatted_quantities_parse_to_the_same_size(size: int) -> None:
    assert parse_quantity(format_quantity(size)) == size


def test_bytes_for_people_have_one_decimal() -> None:
    assert [format_bytes(size) for size in (12, 1536, 77_070_336, 3 << 29)] == [
        "12 B",
        "1.5 KiB",
        "73.5 MiB",
        "1.5 GiB",
    ]


def test_a_worker_needs_parameters_and_gradients_twice_the_activations_and_its_data() -> None:
    need = estimate_worker(
        parameters=1_000_000, buffers=10, activations_per_sample=500, micro_batch=100, block_bytes=8 * MIB
    )
    assert need.total == WORKER_BASE + 8_000_000 + 80 + 400_000 + 8 * MIB


def test_local_steps_add_the_base_and_the_optimizer_state() -> None:
    def total(slots: int, local_steps: int) -> int:
        return estimate_worker(
            parameters=1000,
            buffers=0,
            activations_per_sample=0,
            micro_batch=1,
            block_bytes=0,
            slots=slots,
            local_steps=local_steps,
        ).total

    assert total(2, 1) == total(0, 1)
    assert total(2, 4) == total(2, 1) + 3 * 4000


def test_the_root_needs_parameters_and_state_beside_the_sum() -> None:
    assert estimate_merger(1000).total == MERGER_BASE + 1000
    assert estimate_merger(1000, parameters=250, slots=2).total == MERGER_BASE + 1000 + 3000


def test_a_shortage_names_both_sizes_and_the_causes_and_enough_memory_is_none() -> None:
    need = estimate_merger(100 * MIB)
    assert need.shortage(need.total) is None
    message = need.shortage(64 * MIB)
    assert message is not None
    assert "64.0 MiB is below the 134.0 MiB" in message
    assert "100.0 MiB for the sum" in message
