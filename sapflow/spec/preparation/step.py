"""One step of a preparation: a mapping with one key, which says what is done."""

from pydantic import Field

from sapflow.spec.preparation.category_steps import CrossSpec, DatesSpec, EncodeSpec
from sapflow.spec.preparation.image_step import ImageSpec
from sapflow.spec.preparation.number_steps import BinSpec, ClipSpec, ImputeSpec, Log1pSpec, ScaleSpec
from sapflow.spec.preparation.table_steps import CastSpec, DropRowsSpec, DropSpec, RenameSpec, SelectSpec
from sapflow.spec.preparation.text_steps import BagOfWordsSpec, TokensSpec
from sapflow.spec.types import Model


class StepSpec(Model):
    """What is done to the columns that the step before left. Each item has one of these keys."""

    select: SelectSpec | None = None
    drop: DropSpec | None = None
    rename: RenameSpec | None = None
    cast: CastSpec | None = None
    drop_rows: DropRowsSpec | None = None
    impute: ImputeSpec | None = None
    scale: ScaleSpec | None = None
    bin: BinSpec | None = None
    clip: ClipSpec | None = None
    log1p: Log1pSpec | None = Field(None, alias="log1p")
    encode: EncodeSpec | None = None
    cross: CrossSpec | None = None
    dates: DatesSpec | None = None
    tokens: TokensSpec | None = None
    bag_of_words: BagOfWordsSpec | None = None
    image: ImageSpec | None = None

    @property
    def given(self) -> dict[str, Model]:
        """The steps that the item has, by their keys. The rules see to it that there is one."""
        fields = type(self).model_fields
        found = {field.alias or name: getattr(self, name) for name, field in fields.items()}
        return {name: step for name, step in found.items() if step is not None}


STEP_KEYS = tuple(field.alias or name for name, field in StepSpec.model_fields.items())
"""All steps that there are."""
