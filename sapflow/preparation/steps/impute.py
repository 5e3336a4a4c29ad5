"""The step that fills in missing values, as scikit-learn's SimpleImputer does."""

from dataclasses import dataclass

from sapflow.preparation.step import ColumnType, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.columns import resolve, unused
from sapflow.preparation.steps.impute_fits import MeanFit, MedianFit, MostFrequentFit
from sapflow.preparation.steps.imputed import Imputed, indicator_of
from sapflow.spec.preparation.number_steps import ImputeSpec


@dataclass(frozen=True, slots=True)
class ImputeStep(Step):
    """Fills in missing values of features."""

    spec: ImputeSpec
    target: str

    def begin(self, given: Schema) -> Fit | Fitted:
        asked = self.spec
        textual = asked.strategy in ("Constant", "MostFrequent")
        kinds = ("Number", "Text") if textual else ("Number",)
        columns = resolve(asked.columns, given, kinds, spared=self.target)
        indicator = asked.indicator is True
        if indicator:
            for name in columns:
                unused(indicator_of(name), given, "indicator")
        match asked.strategy:
            case "Constant":
                return Imputed({name: self._constant(name, given[name]) for name in columns}, indicator)
            case "Mean":
                return MeanFit(columns, indicator)
            case "MostFrequent":
                return MostFrequentFit(columns, indicator)
            case "Median":
                return MedianFit(columns, indicator=indicator)

    def _constant(self, name: str, column: ColumnType) -> float | str:
        field, found = ("text", self.spec.text) if column.kind == "Text" else ("value", self.spec.value)
        if found is None:
            raise StepProblem(
                f"column {name} is of type {column.kind}: give its Constant as `{field}`", field
            )
        return found
