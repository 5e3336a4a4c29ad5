"""Single files that a spec names."""

from pathlib import Path

import pytest

from sapflow.data import named_file
from sapflow.data.named_file import named_texts
from sapflow.errors import DataError


def test_the_text_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer.json.old").write_text("no")
    names = (str(tmp_path / "tokenizer.json"), f"file://{tmp_path}/tokenizer.json")
    assert named_texts(names) == dict.fromkeys(names, "{}")


def test_what_is_no_single_file_of_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_text("x" * 9)
    with pytest.raises(DataError, match="there is no file"):
        named_texts([str(tmp_path / "none")])
    with pytest.raises(DataError, match="name one file"):
        named_texts([str(tmp_path)])
    with pytest.raises(DataError, match="no text in UTF-8"):
        named_texts([str(tmp_path / "bytes")])
    monkeypatch.setattr(named_file, "MAX_BYTES", 8)
    with pytest.raises(DataError, match="9 bytes, more than 8"):
        named_texts([str(tmp_path / "long")])
