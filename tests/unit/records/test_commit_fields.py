"""Names of a commit's fields: those that were written under an earlier name stay readable."""

from sapflow.records.commits import LevelUsage, Measured


def test_levels_are_read_under_their_earlier_name_and_written_under_the_new_one() -> None:
    levels = [LevelUsage(calls=4, seconds=0.5), LevelUsage(calls=1, seconds=0.1)]
    body = Measured(levels=levels).body()
    assert [each["calls"] for each in body["levels"]] == [4, 1]
    assert "legs" not in body
    earlier = {"legs": body.pop("levels"), **body}
    assert Measured.model_validate(earlier) == Measured(levels=levels)
