"""What is told of a CPU."""

import pytest

from sapflow import cpu_capability as module
from sapflow.cpu_capability import cpu_capability

AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse4_2 avx avx2 sha_ni"
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (AMD, ["AuthenticAMD", "avx2"]),
        (f"{AMD} avx512f", ["AuthenticAMD", "avx512f"]),
        (ARM, ["0x41", "sve"]),
        ("", []),
    ],
)
def test_maker_and_widest_instructions_are_told_as_far_as_they_are_known(text: str, found: list[str]) -> None:
    assert module._known(text) == found


def test_it_is_short_and_the_same_each_time() -> None:
    assert cpu_capability() == cpu_capability()
    assert len(cpu_capability()) < 80
