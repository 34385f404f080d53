"""The base of every config section."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section of a config: immutable, and refusing keys that it does not know.

    Values are checked strictly, as JSON would be: `"3"` is no integer and `yes` is no boolean, while a list becomes a
    tuple, a string a path or an enum member, and an integer a float where the field asks for one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)
