"""What computed two steps that should have the same bits: how their CPUs and libraries differ. Pure."""

from collections.abc import Sequence

from sapflow.records.commits import Measured


def differing_libraries(one: Measured, other: Measured) -> list[tuple[str, str, str]]:
    """The libraries whose versions differ: name, the version in the one and in the other. What either has not recorded,
    as earlier releases did not, is not known to differ."""
    mine, yours = one.libraries or {}, other.libraries or {}
    return [
        (name, ", ".join(mine[name]), ", ".join(yours[name]))
        for name in sorted({*mine} & {*yours})
        if mine[name] != yours[name]
    ]


def not_here(made: Measured, here: Measured) -> tuple[str, ...]:
    """What a step was computed by and is not computed by here, in words that follow "it was"."""
    found = []
    if None not in (made.cpus, here.cpus) and made.cpus != here.cpus:
        found.append(f"computed on {_words(made.cpus)}, and this machine is {_words(here.cpus)}")
    found += [
        f"computed with {name} {theirs}, and here is {name} {ours}"
        for name, theirs, ours in differing_libraries(made, here)
    ]
    return tuple(found)


def _words(names: Sequence[str] | None) -> str:
    return ", ".join(names or ())
