"""What the Dockerfiles promise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = {
    "merger": ROOT / "functions" / "merger.Dockerfile",
    "operator": ROOT / "operator" / "operator.Dockerfile",
    "server": ROOT / "functions" / "server.Dockerfile",
    "worker": ROOT / "functions" / "worker.Dockerfile",
}


def final_stage(role: str) -> str:
    return FILES[role].read_text().rpartition("\nFROM ")[2]


def first_layer(role: str) -> str:
    found = re.search(r"^RUN (.*?[^\\])$", final_stage(role), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_all_images_share_their_first_layer() -> None:
    assert len({first_layer(role) for role in FILES}) == 1


@pytest.mark.parametrize("role", FILES)
def test_an_image_runs_as_a_user_that_kubernetes_can_see_is_not_root(role: str) -> None:
    # runAsNonRoot is refused for a user given by name.
    assert re.findall(r"^USER (.*)$", final_stage(role), re.MULTILINE) == ["65532:65532"]


@pytest.mark.parametrize("role", ["merger", "operator", "server"])
def test_an_image_without_training_has_no_torch(role: str) -> None:
    assert not re.search(r"torch|sklearn|pyarrow", final_stage(role).replace("no torch", ""))


@pytest.mark.parametrize("role", FILES)
def test_an_images_code_is_compiled_because_its_file_system_is_read_only(role: str) -> None:
    assert "compileall -q --invalidation-mode unchecked-hash /opt/sapflow" in final_stage(role)
