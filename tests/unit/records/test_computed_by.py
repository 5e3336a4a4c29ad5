"""How what computed two steps differs."""

from sapflow.records.commits import Measured
from sapflow.records.computed_by import differing_libraries, not_here


def test_libraries_differ_where_both_recorded_them_and_in_their_versions() -> None:
    one = Measured(libraries={"numpy": ["2.0"], "torch": ["2.5", "2.6"]})
    other = Measured(libraries={"numpy": ["2.0"], "torch": ["2.6"], "scipy": ["1"]})
    assert differing_libraries(one, other) == [("torch", "2.5, 2.6", "2.6")]
    assert differing_libraries(one, Measured()) == []


def test_what_is_not_here_is_said_of_cpus_and_of_libraries() -> None:
    made = Measured(cpus=["x86_64 avx512f"], libraries={"torch": ["2.5"]})
    here = Measured(cpus=["x86_64 avx2"], libraries={"torch": ["2.6"]})
    assert not_here(made, here) == (
        "computed on x86_64 avx512f, and this machine is x86_64 avx2",
        "computed with torch 2.5, and here is torch 2.6",
    )
    assert not_here(made, made) == not_here(Measured(), here) == ()
