"""Fields that the sections of a site's description share: numbers, times with a zone, files, CSV columns."""

import unicodedata
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from tafukt.strict import Strict

Share = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e9)]
Positive = Annotated[float, Field(ge=1e-9, le=1e9)]
Monthly = Annotated[tuple[float, ...], Field(min_length=12, max_length=12)]
Hourly = Annotated[tuple[float, ...], Field(min_length=24, max_length=24)]
Fill = Literal["refuse", "interpolate", "previous-day", "clear-sky"]
Label = Literal["left", "mid", "right"]


NAME_MOST = 64


def site_name(value: str) -> str:
    """A name of a site as it is, if it can be one: letters of any script, digits, `_` and `-`, after a letter.

    Raises
    ------
    ValueError
        If it cannot: names become parts of keys, of files and of ids.
    """
    whole = value.replace("-", "_")
    if not whole.isidentifier() or not value[0].isalpha() or len(value) > NAME_MOST:
        raise ValueError(
            f"letters of any script, digits, '_' and '-' only, starting with a letter, at most {NAME_MOST} characters"
        )
    if unicodedata.normalize("NFC", value) != value:
        raise ValueError("its accents are separate characters; write each accented letter as one character")
    return value


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a time zone, as in 2025-12-01T00:00:00Z")
    return value


def _no_bare_date(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        raise ValueError("a date without time and zone; write it as 2025-12-01T00:00:00Z")
    return value


def _resolved(value: Path, info: ValidationInfo) -> Path:
    """A relative path counts from the folder of the file that names it."""
    folder = (info.context or {}).get("folder")
    return Path(folder) / value if folder is not None and not value.is_absolute() else value


Instant = Annotated[datetime, AfterValidator(_with_zone), BeforeValidator(_no_bare_date)]
SiteName = Annotated[str, AfterValidator(site_name)]
FilePath = Annotated[Path, AfterValidator(_resolved)]


class Section(Strict):
    """A table of a site's file; unknown keys are mistakes."""


class SourceModel(Section):
    """Origin of a figure, and how far to trust it."""

    source: str = Field(description="where it comes from")
    confidence: str = Field(description="how far to trust it")


class ColumnModel(Section):
    """A column of a CSV file with its times."""

    file: FilePath = Field(description="the CSV file, relative to the experiment file")
    time: str = Field("time", description="name of the column of times")
    column: str = Field(description="name of the column of values")
    scale: float = Field(1.0, description="factor from the file's unit to the one expected here")
    time_format: str | None = Field(None, description="strptime format of the times; default: ISO 8601")
    tz: str = Field("UTC", description="time zone of times that carry none: an IANA name, or an offset such as +01:00")
    label: Label = Field("left", description="which part of its interval a time stands for")


class SeriesModel(ColumnModel):
    """A column of a CSV file that covers the whole run."""

    repeat: bool = Field(False, description="whether one year of data stands in for every year")
    fill: Fill = Field("refuse", description="what to do about missing values: refuse, interpolate, previous-day")
