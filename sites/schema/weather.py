"""The climate of a site and where its weather comes from: every key with its unit and default."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tafukt.sites.schema.fields import FilePath, Fill, Instant, Label, Monthly, Positive, Section
from tafukt.sites.schema.ranges import Wind


class ClimateModel(Section):
    """Monthly means of sky and air in an average year."""

    ghi_kwh_m2_d: Monthly = Field(description="global horizontal irradiation [kWh/m2/day]")
    tmax_c: Monthly = Field(description="mean daily maximum of the air temperature [degC]")
    tmin_c: Monthly = Field(description="mean daily minimum of the air temperature [degC]")
    ghi_kwh_m2_y: float | None = Field(None, description="annual irradiation, for reference [kWh/m2]")
    pv_yield_kwh_kwp_y: float | None = Field(None, description="published PV yield, for comparison [kWh/kWp]")
    wind_speed_ms: Wind = Field(3.0, description="mean wind speed at 10 m [m/s]; 3.0 where none was found: choice")

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        for month, (low, high) in enumerate(zip(self.tmin_c, self.tmax_c, strict=True), 1):
            if not -80.0 <= low <= high <= 60.0 and low <= high:
                kelvin = f"; as kelvin it would be {high - 273.15:.3g}" if 200.0 < high < 333.0 else ""
                raise ValueError(f"tmin_c {low}, tmax_c {high} in month {month} are not within -80 to 60 degC{kelvin}")
            if low > high:
                raise ValueError(f"tmin_c {low} is above tmax_c {high} in month {month}")
        for month, value in enumerate(self.ghi_kwh_m2_d, 1):
            if not 0.0 <= value <= 12.5:
                raise ValueError(
                    f"ghi_kwh_m2_d {value} in month {month} is not between 0 and 12.5 kWh/m2/day"
                    + (f"; as MJ/m2/day it would be {value / 3.6:.3g}" if 12.5 < value <= 45.0 else "")
                )
        return self


class ClearSky(Section):
    """Never a cloud; temperatures are the climate's, without day-to-day variation."""

    kind: Literal["clear-sky"] = "clear-sky"
    temp_air_c: float = Field(20.0, description="air temperature if the site has no climate [degC]: CHOICE")


class HeatWave(Section):
    """Days on which the air is warmer than the weather says, under the same sky."""

    start: Instant = Field(description="start, with a time zone")
    days: float = Field(ge=1e-3, le=36_525, description="how long it lasts [days]")
    warmer_c: float = Field(ge=-30, le=30, description="by how much the air is warmer [degC]")


class Climatology(Section):
    """A random sky, drawn by the seed, that reproduces the site's monthly climate."""

    kind: Literal["climatology"] = "climatology"


class WeatherFile(Section):
    """Weather from an EPW, TMY3 or PVGIS file."""

    kind: Literal["epw", "tmy3", "pvgis"]
    file: FilePath = Field(description="the file, relative to the experiment file")
    repeat: bool = Field(True, description="whether the file's year stands in for times that it does not cover")
    fill: Fill = Field("refuse", description="what to do about missing or impossible values")


class PublisherFile(Section):
    """Weather from a publisher's CSV file as downloaded: NSRDB (or SAM), SolarAnywhere, NASA POWER, Open-Meteo, "
    "ERA5, Solcast."""

    kind: Literal["nsrdb", "solaranywhere", "nasa-power", "open-meteo", "era5", "solcast"]
    file: FilePath = Field(description="the file, relative to the experiment file")
    repeat: bool = Field(True, description="whether the file's year stands in for times that it does not cover")
    fill: Fill = Field("refuse", description="what to do about missing or impossible values")


class WeatherColumns(Section):
    """Names of the columns of a CSV weather file; it needs `ghi`, or both `dni` and `dhi`."""

    time: str = Field(default="time", description="times")
    ghi: str = Field(default="ghi", description="global horizontal irradiance")
    dhi: str | None = Field(default=None, description="diffuse horizontal irradiance")
    dni: str | None = Field(default=None, description="direct normal irradiance")
    temp_air: str | None = Field(default="temp_air", description="air temperature")
    wind_speed: str | None = Field(default=None, description="wind speed")


class WeatherCSV(Section):
    """Weather from a CSV file with named columns [W/m2, degC, m/s]."""

    kind: Literal["csv"] = "csv"
    file: FilePath = Field(description="the file, relative to the experiment file")
    columns: WeatherColumns = Field(default_factory=WeatherColumns, description="names of its columns")
    time_format: str | None = Field(
        None, description="strptime format of the times; default: ISO 8601, or dates whose order the file makes clear"
    )
    tz: str = Field("UTC", description="time zone of times that carry none: an IANA name, or an offset such as +01:00")
    label: Label = Field("left", description="which part of its interval a time stands for")
    ghi_scale: Positive = Field(1.0, description="W/m2 of irradiance in one unit of the file")
    wind_scale: Positive = Field(1.0, description="m/s of wind in one unit of the file")
    temp_unit: Literal["degC", "K", "degF"] = Field("degC", description="unit of the air temperature")
    repeat: bool = Field(True, description="whether the file's year stands in for times that it does not cover")
    fill: Fill = Field("refuse", description="what to do about missing or impossible values")


class PVGISDownload(Section):
    """A typical year, downloaded from PVGIS and kept in the cache."""

    kind: Literal["pvgis-download"] = "pvgis-download"
    url: str = Field("https://re.jrc.ec.europa.eu/api/", description="address of the service")
    fill: Fill = Field("refuse", description="what to do about missing or impossible values")


def _kind_first(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_Kind = ClearSky | Climatology | WeatherFile | PublisherFile | WeatherCSV | PVGISDownload
WeatherSource = Annotated[Annotated[_Kind, Field(discriminator="kind")], BeforeValidator(_kind_first)]
