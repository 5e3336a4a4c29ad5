"""What `sapflow plan` says of the preparation of raw data."""

from sapflow.planning.preparation import PreparationForecast
from sapflow.quantities.memory import format_bytes
from sapflow.text import count, dollars, duration


def lines(said: PreparationForecast | None) -> list[tuple[str, str]]:
    """(name, text) of each line; none without a preparation."""
    if said is None:
        return []
    about = "about " if said.indexed_files and said.partitions > said.rehearsed_partitions else ""
    cut = f", {said.indexed_files:,} of them packed and cut at seek points" if said.indexed_files else ""
    files = f"{count(said.files, 'file')} of {format_bytes(said.bytes)}{cut}"
    source = f"{files}, {about}{count(said.partitions, 'partition')}"
    beginning = min(said.partitions, said.rehearsed_partitions)
    from_ = "all" if beginning == said.partitions else f"the first {beginning:,}"
    seconds, spent = said.seconds, said.cost_usd
    return [
        (
            "prepared",
            f"{source}, parsed once and read {said.passes + 1} times, by {count(said.at_once, 'preparer')} at once",
        ),
        (
            "",
            f"{duration(seconds.p50)} ({duration(seconds.p10)} to {duration(seconds.p90)}), "
            f"{dollars(spent.p50)} ({dollars(spent.p10)} to {dollars(spent.p90)}); eight in ten draws are within, from "
            f"{from_} of them, rehearsed in {duration(said.rehearsal_seconds)}",
        ),
    ]
