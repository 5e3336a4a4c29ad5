"""The page of a pipeline."""

from sapflow.monitoring.pipeline_report import (
    Part,
    PipelineFacts,
    RawColumn,
    RawRows,
    ServedFacts,
    render,
)
from sapflow.planning.pipeline import RunTaken, StageForecast, StageTaken, graded, in_all
from sapflow.planning.spread import Spread

SPREAD = Spread(p10=1.0, p50=2.0, p90=3.0)
SAID = in_all([StageForecast(document="flights", stage="train", seconds=SPREAD, cost_usd=SPREAD)], 1.0)
RAW = RawRows(
    "flights", 100, 3, 80, 17, 12, "2 classes", (RawColumn("carrier", "AA, UA"),), "jobs/x/rejected/"
)


def page(*parts: Part, served: ServedFacts | None = None) -> str:
    grades = graded(SAID, [RunTaken(stages=[StageTaken(document="flights", stage="train", seconds=4.0)])])
    return render(PipelineFacts("flights", grades, [RAW], parts, served))


def test_it_leads_from_raw_rows_to_what_is_served() -> None:
    served = ServedFacts(16, {"thresholds": {"1": 0.5}}, "http://localhost:8080", {"rows_total": 7.0})
    text = page(Part("TuningJob", "search", "Succeeded", "3 trials", "<p>charts</p>"), served=served)
    wanted = (
        "50 % too little",
        "100 rows were read, 3 rejected",
        "carrier",
        "3 trials",
        "16 golden rows",
        "rows_total",
    )
    places = [text.index(each) for each in wanted]
    assert places == sorted(places)


def test_reports_inside_cannot_break_out_of_their_frames() -> None:
    text = page(Part("TrainingJob", "job", "Failed", "a <b>", '"><script>alert(1)</script>'))
    assert "<script>" not in text
    assert 'sandbox="allow-scripts allow-same-origin"' in text
    assert "a &lt;b&gt;" in text


def test_nothing_comes_from_elsewhere() -> None:
    text = page(Part("TrainingJob", "job", "Waiting", "it waits for its search", None))
    assert "default-src 'unsafe-inline' 'unsafe-eval' data: blob:" in text
    assert "iframe sandbox" not in text
    assert " src=" not in text
