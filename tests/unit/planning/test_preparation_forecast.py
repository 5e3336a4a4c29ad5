"""The forecast of a preparation from its first partitions."""

from dataclasses import replace

import pytest

from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY
from sapflow.planning.preparation import (
    OF_CONTENT,
    OF_TABLES,
    PreparationForecast,
    PreparationPlace,
    RehearsedCall,
    RehearsedPreparation,
    Shares,
    by_first_rows,
    forecast,
)
from sapflow.quantities.prices import Price

PRICE = Price("even", None, "this test", usd_per_mb_second=1 / 1024)
PLACE = PreparationPlace(
    here=LOCAL_DIRECTORY,
    there=LOCAL_DIRECTORY,
    at_once=2,
    price=PRICE,
    memory=1 << 30,
    cpus=None,
    calls_each=4,
    fan_in=32,
)


def rehearsed(partitions: int, *, seconds: float = 1.0, spread: float = 0.0) -> RehearsedPreparation:
    """Two partitions of 32 MiB each, of which parsing, two passes and writing take that long."""
    some = (RehearsedCall(seconds - spread), RehearsedCall(seconds + spread))
    alone = (RehearsedCall(0.01),)
    calls = {"survey": alone, "begin": alone, "parse": some, "count": some * 2, "write": some}
    calls |= dict.fromkeys(("mergeStatistics", "advance", "finish", "clear"), alone)
    return RehearsedPreparation(
        files=1,
        bytes=partitions * (32 << 20),
        partitions=partitions,
        rehearsed=2,
        bytes_rehearsed=64 << 20,
        to_scan=0,
        calls=calls,
    )


def test_a_source_takes_its_partitions_through_parsing_passes_and_writing() -> None:
    said = forecast(rehearsed(200), PLACE)
    assert said.passes == 2
    # Parsed, read twice, written: 4 s a partition, by two functions at once.
    assert said.seconds.p50 == pytest.approx(400, rel=0.1)
    assert said.seconds.p10 < said.seconds.p50 < said.seconds.p90
    assert said.cost_usd.p50 == pytest.approx(800, rel=0.1)


def test_more_functions_at_once_are_faster_as_long_as_there_are_partitions() -> None:
    found = rehearsed(100)
    seconds = [forecast(found, replace(PLACE, at_once=each)).seconds.p50 for each in (1, 4, 100, 400)]
    assert seconds[0] / seconds[1] == pytest.approx(4, rel=0.15)
    assert seconds[2] == pytest.approx(seconds[3], rel=0.1)
    dollars = [forecast(found, replace(PLACE, at_once=each)).cost_usd.p50 for each in (1, 100)]
    assert dollars[0] == pytest.approx(dollars[1], rel=0.02)


def test_partitions_that_differ_widen_the_spread() -> None:
    def width(spread: float) -> float:
        seconds = forecast(rehearsed(50, spread=spread), PLACE).seconds
        return (seconds.p90 - seconds.p10) / seconds.p50

    assert width(0.4) > width(0.0) * 1.1


def test_medians_may_take_another_pass_where_there_is_more_than_was_rehearsed() -> None:
    wide, narrow = replace(PLACE, learns_order=True), PLACE
    assert forecast(rehearsed(50), wide).seconds.p90 > forecast(rehearsed(50), narrow).seconds.p90
    assert forecast(rehearsed(2), wide) == forecast(rehearsed(2), narrow)


def test_bytes_of_the_source_count_where_the_last_partitions_are_smaller() -> None:
    half = replace(rehearsed(4), bytes=int(3.1 * (32 << 20)))
    assert half.size == pytest.approx(3.1)
    assert replace(half, bytes_rehearsed=0).size == 4


def test_elsewhere_the_store_of_that_place_is_taken() -> None:
    moved = (RehearsedCall(1.0, read=32 << 20, written=32 << 20),) * 2
    found = rehearsed(20)
    found = replace(found, calls={**found.calls, "parse": moved, "count": moved * 2, "write": moved})
    here, there = forecast(found, PLACE), forecast(found, replace(PLACE, there=KNATIVE))
    assert there.seconds.p50 > here.seconds.p50 * 1.1
    assert there.constants == KNATIVE.origin


def test_packed_files_add_the_search_for_their_seek_points_one_function_a_file() -> None:
    found = rehearsed(64)
    index = {"index": (RehearsedCall(1.0),) * 4, "partition": (RehearsedCall(0.01),)}
    one = replace(
        found, calls={**found.calls, **index}, indexed_files=1, largest_share=1.0, indexed_partitions=4
    )
    many = replace(one, indexed_files=64, largest_share=1 / 64)
    place = replace(PLACE, at_once=16)
    plain, alone, side_by_side = (forecast(each, place).seconds.p50 for each in (found, one, many))
    assert alone - plain == pytest.approx(64, rel=0.2)
    assert side_by_side - plain == pytest.approx(4, rel=0.5)


def by_parsing(
    seconds: float, partitions: int, *, parsed: int = 2, passes: int = 2, shares: Shares = OF_TABLES
) -> PreparationForecast:
    calls = {
        "survey": [RehearsedCall(0.01)],
        "begin": [RehearsedCall(0.01)],
        "parse": [RehearsedCall(seconds * parsed)],
    }
    return by_first_rows(
        calls,
        PLACE,
        files=1,
        size=partitions << 25,
        partitions=partitions,
        parsed=parsed,
        to_scan=0,
        indexed_files=0,
        largest_share=0.0,
        passes=passes,
        start_seconds=0.0,
        shares=shares,
        seed=1,
    )


def test_what_parsing_takes_tells_what_the_rest_takes() -> None:
    said = by_parsing(1.0, 100)
    expected = 100 * (1 + 2 * OF_TABLES.count + OF_TABLES.write) / 2
    assert said.seconds.p50 == pytest.approx(expected, rel=0.15)
    assert by_parsing(2.0, 100).seconds.p50 == pytest.approx(2 * said.seconds.p50, rel=0.05)
    assert by_parsing(1.0, 100, parsed=7).seconds.p50 == pytest.approx(said.seconds.p50, rel=0.01)
    assert by_parsing(1.0, 100, shares=OF_CONTENT).seconds.p50 > 2 * said.seconds.p50
    assert by_parsing(1.0, 100, passes=5).cost_usd.p50 > said.cost_usd.p50


def test_a_forecast_from_parsing_alone_is_wider_than_one_from_a_rehearsal() -> None:
    def width(said: PreparationForecast) -> float:
        return said.seconds.p90 / said.seconds.p10

    assert width(by_parsing(1.0, 200)) > width(forecast(rehearsed(200), PLACE))
