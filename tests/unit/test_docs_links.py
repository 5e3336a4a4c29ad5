"""Relative links of the pages lead to files that there are, and their anchors to headings."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1[`~]*\s*?$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(`+)(?!`)(?:(?!\n\n).)*?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.+?)(?:\s+#+)?\s*$", re.MULTILINE)
PLACE = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading: its text without marks, in lower case, a hyphen for each space."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Of all headings of a page; those that come again are numbered from 1."""
    seen: Counter[str] = Counter()
    prose, found = FENCE.sub("", text), set()
    for heading in HEADING.findall(prose):
        name = slug(heading)
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found | set(PLACE.findall(prose))


def links(text: str) -> list[str]:
    """Where the links and pictures of a page lead, code left out."""
    return LINK.findall(CODE.sub("", FENCE.sub("", text)))


def broken(page: Path) -> Iterator[str]:
    """What is wrong with the relative links of a page."""
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z][a-z0-9+.-]*:|//", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            yield f"{link}: there is no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_anchors_are_as_github_makes_them() -> None:
    text = "# The law\n## Figs. 7 and 8: `eq. 1`, *fast* & `a_b`\n```\n# no heading\n```\n## The law\n"
    assert anchors(text) == {"the-law", "figs-7-and-8-eq-1-fast--a_b", "the-law-1"}


def test_what_leads_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("## There\n", encoding="utf-8")
    page.write_text(
        "# Here\n[a](other.md#there) [b](#here) [c](other.md) [d](https://example.org/x) `[e](code.md)`\n"
        "[f](gone.md) [g](other.md#gone) ![h](gone.svg) [i](#gone) [j](../outside.md)\n",
        encoding="utf-8",
    )
    assert [each.split(":")[0] for each in broken(page)] == [
        "gone.md",
        "other.md#gone",
        "gone.svg",
        "#gone",
        "../outside.md",
    ]
