"""All steps there are: from the spec to a step, and from records back to what a step has learnt.

To add a step, write its module and name its classes here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sapflow.preparation.pipeline import Classes
from sapflow.preparation.step import Fit, Fitted, Step
from sapflow.preparation.steps.bag_of_words import BagOfWords, BagOfWordsStep, BucketFit, TermFit
from sapflow.preparation.steps.bins import Binned, BinStep, QuantileFit
from sapflow.preparation.steps.casts import Cast, CastStep
from sapflow.preparation.steps.cross import Cross, CrossStep
from sapflow.preparation.steps.dates import Dates, DatesStep
from sapflow.preparation.steps.drop_rows import DroppedRows, DropRowsStep
from sapflow.preparation.steps.elementwise import Clipped, ClipStep, Log1p, Log1pStep
from sapflow.preparation.steps.encode import Encode, EncodeFit, EncodeStep
from sapflow.preparation.steps.group_robust import GroupRobustFit
from sapflow.preparation.steps.group_scale import GroupedFit, GroupScaled
from sapflow.preparation.steps.hashed_encode import HashedEncode
from sapflow.preparation.steps.image import ImageFit, Images, ImageStep
from sapflow.preparation.steps.impute import ImputeStep
from sapflow.preparation.steps.impute_fits import MeanFit, MedianFit, MostFrequentFit
from sapflow.preparation.steps.imputed import Imputed
from sapflow.preparation.steps.scale import RobustFit, Scaled, ScaleFit, ScaleStep
from sapflow.preparation.steps.selection import Dropped, DropStep, Renamed, RenameStep, SelectStep
from sapflow.preparation.steps.split import GroupSplit, RowSplit, ValueSplit
from sapflow.preparation.steps.stratified_split import StratifiedFit, StratifiedSplit
from sapflow.preparation.steps.tokens import Tokens, TokensFit, TokensStep
from sapflow.spec.preparation.step import StepSpec
from sapflow.spec.preparation.text_steps import TokensSpec

_STEPS: Mapping[str, Callable[[Any, str], Step]] = {
    "select": lambda spec, _: SelectStep(spec),
    "drop": lambda spec, _: DropStep(spec),
    "rename": lambda spec, _: RenameStep(spec),
    "cast": lambda spec, _: CastStep(spec),
    "dropRows": lambda spec, _: DropRowsStep(spec),
    "impute": ImputeStep,
    "scale": ScaleStep,
    "bin": BinStep,
    "clip": ClipStep,
    "log1p": Log1pStep,
    "encode": EncodeStep,
    "cross": lambda spec, _: CrossStep(spec),
    "dates": DatesStep,
    "bagOfWords": BagOfWordsStep,
    "image": lambda spec, _: ImageStep(spec),
}
"""By the key in the spec: the step of what is asked for and of the target's name."""

_STATES: tuple[type[Fit | Fitted], ...] = (
    RowSplit,
    GroupSplit,
    ValueSplit,
    StratifiedFit,
    StratifiedSplit,
    Dropped,
    Renamed,
    Cast,
    DroppedRows,
    MeanFit,
    MedianFit,
    MostFrequentFit,
    Imputed,
    ScaleFit,
    RobustFit,
    Scaled,
    GroupedFit,
    GroupRobustFit,
    GroupScaled,
    QuantileFit,
    Binned,
    Clipped,
    Log1p,
    EncodeFit,
    Encode,
    HashedEncode,
    Cross,
    Dates,
    TermFit,
    BucketFit,
    BagOfWords,
    ImageFit,
    Images,
    TokensFit,
    Tokens,
)
"""Everything that a step can be between two passes, and when it is fitted."""

CLASSES: Classes = {state.__name__: state for state in _STATES}
"""The same by name, as records of a pipeline name them."""


def step_of(item: StepSpec, target: str, files: Mapping[str, str] | None = None) -> Step:
    """The step that an item of `spec.data.prepare.steps` asks for, in a preparation with this target. `files` has what
    is in those that the spec names."""
    ((key, spec),) = item.given.items()
    if isinstance(spec, TokensSpec):
        text = None if spec.tokenizer is None else (files or {}).get(spec.tokenizer)
        return TokensStep(spec, None if text is None else text.encode())
    return _STEPS[key](spec, target)
