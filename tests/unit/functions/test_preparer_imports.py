"""A preparer starts without what few jobs need, so that it starts fast."""

import subprocess
import sys

ELSEWHERE = (
    "torch",
    "yaml",
    "duckdb",
    "PIL",
    "tokenizers",
    "msgspec",
    "indexed_gzip",
    "nanoarrow",
    "pandas",
    "sklearn",
    "sapflow.spec.tuning_job",
)


def test_a_preparer_loads_readers_libraries_searches_and_yaml_when_they_are_asked_for() -> None:
    code = (
        "import sys\n"
        "from sapflow_functions.roles import preparer\n"
        "preparer._load_handlers()\n"
        f"print([name for name in {ELSEWHERE!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
