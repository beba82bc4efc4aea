"""Description of a site, the catalogue in `sites/catalogue/*.toml`, and a user's changes merged over it."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import Field, TypeAdapter, field_validator, model_validator

from tafukt.problems import hint
from tafukt.sites.errors import SiteError
from tafukt.sites.schema.equipment import BatteryModel, ClusterModel, Cooling, NodeModel, PiecewiseCooling, PVModel
from tafukt.sites.schema.fields import Hourly, Instant, Monthly, Section, SiteName, SourceModel
from tafukt.sites.schema.grid import GridModel, MeterModel, OtherModel, TariffModel
from tafukt.sites.schema.ranges import SitePower
from tafukt.sites.schema.weather import ClimateModel, Climatology, HeatWave, WeatherSource
from tafukt.sites.time_grid import zone_of
from tafukt.strict import valid_part

__all__ = ["SiteError", "SiteModel", "catalogue", "node_types", "site_from"]


class SiteModel(Section):
    """One data centre: place, weather, equipment, grid connection."""

    name: SiteName = Field(description="its key in the experiment")
    title: str = Field("", description="its name in tables and figures; default: its key")
    region: str = Field("", description="code of its region; default: the name of the site")
    region_title: str = Field("", description="name of its region")
    country: str = Field("MA", description="ISO code of its country")
    is_root: bool = Field(False, description="whether it is the hub of the network")
    status: str = Field("", description="state of the project")
    lat: float = Field(ge=-90.0, le=90.0, description="latitude, positive in the north [deg]")
    lon: float = Field(ge=-180.0, le=180.0, description="longitude, positive in the east [deg]")
    altitude_m: float = Field(0.0, ge=-450.0, le=6000.0, description="height above sea level [m]")
    tz: str = Field("Africa/Casablanca", description="time zone: an IANA name, or an offset such as +01:00")
    population: int = Field(0, ge=0, le=10_000_000_000, description="inhabitants of its region")
    online: Instant | None = Field(None, description="when it opens, with a time zone; default: before the start")
    islandable: bool | None = Field(
        None, description="whether it can run without the grid; default: if it has a battery"
    )
    climate: ClimateModel | None = Field(None, description="monthly means of sun and temperature")
    weather: WeatherSource = Field(default_factory=Climatology, description="where its weather comes from")
    heat_waves: dict[str, HeatWave] = Field({}, description="heat waves on top of the weather, by name")
    pv: PVModel | None = Field(default_factory=PVModel, description="its PV array")  # type: ignore[arg-type]
    battery: BatteryModel | None = Field(default_factory=BatteryModel, description="its battery")  # type: ignore[arg-type]
    cluster: ClusterModel = Field(default_factory=ClusterModel, description="its nodes")  # type: ignore[arg-type]
    cooling: Cooling = Field(default_factory=PiecewiseCooling, description="its cooling")  # type: ignore[arg-type]
    grid: GridModel = Field(default_factory=GridModel, description="its grid connection")  # type: ignore[arg-type]
    fixed_kw: SitePower = Field(0.0, description="power drawn at all times besides IT and cooling [kW]")
    other: OtherModel = Field(default_factory=OtherModel, description="load other than the cluster")  # type: ignore[arg-type]
    meter: MeterModel | None = Field(None, description="readings of a meter, to compare the model with")
    sources: dict[str, SourceModel] = Field(default_factory=dict, description="where its figures come from, by key")

    @field_validator("pv", "battery", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if value is False else value

    @field_validator("tz")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        zone_of(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.weather.kind == "climatology" and self.climate is None:
            raise ValueError(
                "weather.kind 'climatology' needs a climate: give climate.ghi_kwh_m2_d, tmax_c and tmin_c "
                "(12 values each), or like = a site of the catalogue, or another weather.kind"
            )
        for key, name, known in (
            ("cluster.node", self.cluster.node, node_types()),
            ("grid.tariff", self.grid.tariff, tariffs()),
            ("grid.carbon.table", getattr(self.grid.carbon, "table", None), carbon_tables()),
            ("other.shape", self.other.shape, load_shapes()),
        ):
            if isinstance(name, str) and name not in known:
                raise ValueError(f"{key}: {name!r} is not in the catalogue; {hint(name, known)}")
        return self

    @model_validator(mode="after")
    def _facing_the_equator(self) -> Self:
        if self.pv is not None and self.pv.azimuth_deg is None:
            facing = self.pv.model_copy(update={"azimuth_deg": 180.0 if self.lat >= 0 else 0.0})
            object.__setattr__(self, "pv", facing)
        return self

    @property
    def node(self) -> NodeModel:
        """The kind of its nodes."""
        node = self.cluster.node
        return node_types()[node] if isinstance(node, str) else node

    @property
    def gpus(self) -> int:
        """All its GPUs."""
        return self.cluster.nodes * self.node.gpus

    @property
    def least_kw(self) -> float:
        """Power that it draws at all times, with every node empty [kW]; cooling comes on top."""
        node = self.node
        return self.fixed_kw + self.cluster.nodes * (node.sleep_kw if node.can_sleep else node.idle_kw)

    @property
    def pv_kwp(self) -> float:
        """Size of its PV array [kW at standard conditions]."""
        if self.pv is None:
            return 0.0
        return self.pv.kwp_per_node * self.cluster.nodes if self.pv.kwp is None else self.pv.kwp

    @property
    def battery_kwh(self) -> float:
        """Capacity of its battery when new [kWh]."""
        if self.battery is None:
            return 0.0
        return self.battery.kwh_per_node * self.cluster.nodes if self.battery.kwh is None else self.battery.kwh

    @property
    def is_islandable(self) -> bool:
        """Whether it can serve its load without the grid."""
        return self.battery_kwh > 0 if self.islandable is None else self.islandable

    @property
    def tariff(self) -> TariffModel:
        """Its tariff."""
        tariff = self.grid.tariff
        return tariffs()[tariff] if isinstance(tariff, str) else tariff

    @property
    def demand_mad_per_kw_month(self) -> float:
        """Its demand charge, on the largest 15-minute mean of a local calendar month [MAD/kW]."""
        own = self.grid.demand_mad_per_kw_month
        return self.tariff.demand_mad_per_kw_month if own is None else own


class CarbonTable(Section):
    """Carbon intensity by season and local hour [g/kWh]."""

    title: str = ""
    DJF: Hourly
    MAM: Hourly
    JJA: Hourly
    SON: Hourly
    source: str = ""
    confidence: str = ""


class LoadShape(Section):
    """A load relative to its yearly mean, by local hour in winter and summer, and by month."""

    title: str = ""
    hourly_winter: Hourly
    hourly_summer: Hourly
    monthly: Monthly
    source: str = ""
    confidence: str = ""


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((files("tafukt.sites") / "catalogue" / name).read_text(encoding="utf-8"))


@cache
def node_types() -> dict[str, NodeModel]:
    """The nodes of the catalogue by name."""
    return TypeAdapter(dict[str, NodeModel]).validate_python(_toml("_nodes.toml"))


@cache
def tariffs() -> dict[str, TariffModel]:
    """The tariffs of the catalogue by name."""
    return TypeAdapter(dict[str, TariffModel]).validate_python(_toml("_tariffs.toml"))


@cache
def carbon_tables() -> dict[str, CarbonTable]:
    """The carbon tables of the catalogue by name."""
    return TypeAdapter(dict[str, CarbonTable]).validate_python(_toml("_carbon.toml"))


@cache
def load_shapes() -> dict[str, LoadShape]:
    """The shapes of other load in the catalogue by name."""
    return TypeAdapter(dict[str, LoadShape]).validate_python(_toml("_load_shapes.toml"))


@cache
def sky_facts() -> dict[str, Any]:
    """Facts shared by every seeded sky: daily spread, correlation length and its fixed nodes."""
    return _toml("_sky.toml")


_KINDS: dict[str, Any] = {
    "weather": {"kind": "climatology"},
    "cooling": {"kind": "piecewise"},
    "pv": {"soiling": {"kind": "accumulating"}},
    "grid": {"carbon": {"kind": "hourly"}},
}


@cache
def _catalogue_tables() -> dict[str, dict[str, Any]]:
    folder = files("tafukt.sites") / "catalogue"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".toml") and not f.name.startswith("_"))
    tables = [_toml(name) for name in names]
    return {table["name"]: table for table in sorted(tables, key=lambda t: (not t["is_root"], -t["lat"]))}


@cache
def _catalogue() -> dict[str, SiteModel]:
    return {name: SiteModel.model_validate(table) for name, table in _catalogue_tables().items()}


def catalogue() -> dict[str, SiteModel]:
    """The twelve Moroccan sites by name: the root hub first, then from north to south."""
    return dict(_catalogue())


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over`, table by table; a table whose `kind` changes is replaced whole."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if not isinstance(value, Mapping):
            result[key] = value
        elif isinstance(below, Mapping) and value.get("kind", below.get("kind")) == below.get("kind"):
            result[key] = merged(below, value)
        else:
            result[key] = dict(value)
    return result


def _put_like(full: dict[str, Any], section: str, key: str, known: Mapping[str, Section], where: str) -> None:
    """Put what `like` in a node or a tariff names below what is written beside it."""
    holder = full.get(section)
    own = holder.get(key) if isinstance(holder, Mapping) else None
    if not isinstance(holder, Mapping) or not isinstance(own, Mapping) or "like" not in own:
        return
    like = own["like"]
    if not isinstance(like, str) or like not in known:
        raise SiteError(f"{where}: {section}.{key}.like: {like!r} is not in the catalogue; {hint(str(like), known)}")
    rest = {name: value for name, value in own.items() if name != "like"}
    base = known[like].model_dump(mode="json", exclude_unset=True)
    origin = {name: f"like {like}" for name in ("source",) if "source" not in rest}
    full[section] = {**holder, key: {**base, **rest, **origin}}


def site_from(
    table: Mapping[str, Any],
    base: str | None,
    where: str,
    folder: Path | None = None,
    name: str | None = None,
) -> SiteModel:
    """A site of one's own, or a site of the catalogue with changes.

    Parameters
    ----------
    table : mapping
        The keys that the user wrote. `like = "dakhla"` in it names the base.
    base : str or None
        The site of the catalogue that `table` is merged over.
    where : str
        File and table, for messages: `week.toml: sites.own.mysite`.
    folder : Path, optional
        Where relative paths in it count from.
    name : str, optional
        Its name, where the table does not hold one.

    Raises
    ------
    SiteError
        With one line per mistake: where, key, value, what is allowed, the nearest known key.
    """
    own = dict(table)
    like = own.pop("like", base)
    start: dict[str, Any] = {}
    if like is not None:
        known = _catalogue_tables()
        if not isinstance(like, str) or like not in known:
            raise SiteError(f"{where}: like: no site is called {like!r}; {hint(str(like), known)}")
        start = known[like]
        if base is None:
            start = {key: value for key, value in start.items() if key not in ("is_root", "status")}
    full = merged(merged(_KINDS, start), own)
    for section, key, known_here in (("cluster", "node", node_types()), ("grid", "tariff", tariffs())):
        _put_like(full, section, key, known_here, where)
    if name is not None and "name" not in own:
        full["name"] = name
    if like is not None and base is None and "title" not in own and full.get("name") != start.get("name"):
        full["title"] = str(full.get("name", ""))
    full.setdefault("region", str(full.get("name", "")))
    site, problems = valid_part(SiteModel, full, where, {"name": "unnamed", "lat": 0.0, "lon": 0.0}, {"folder": folder})
    if site is None or problems:
        raise SiteError(problems)
    return site
