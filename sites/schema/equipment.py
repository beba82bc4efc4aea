"""Equipment of a site: PV array, battery, nodes, cooling; every key with its unit, default and origin."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tafukt.sites.schema.fields import Instant, NotNegative, Positive, Section, SeriesModel, Share
from tafukt.sites.schema.ranges import (
    Capacity,
    DailyLoss,
    NodePower,
    Overhead,
    SitePower,
    TempCoefficient,
    YearlyLoss,
)


class ConstantSoiling(Section):
    """Dust as a constant loss."""

    kind: Literal["constant"] = "constant"
    loss: Share = Field(0.02, description="loss at all times; PVWatts: 2 %")


class DustStorm(Section):
    """A dust storm on a given day."""

    date: Instant = Field(description="when it happens, with a time zone")
    loss: Share = Field(description="loss from then on, until rain or the next cleaning")


class AccumulatingSoiling(Section):
    """Dust that builds up from day to day until rain or cleaning removes it."""

    kind: Literal["accumulating"] = "accumulating"
    rate_per_day: DailyLoss = Field(0.003, description="loss added on each dry day; by zone, BACKGROUND KNOWLEDGE")
    cleaning_days: int = Field(
        14, ge=0, le=36_525, description="days between cleanings, 0: never; BACKGROUND KNOWLEDGE"
    )
    rain_index: Share = Field(
        0.3,
        description="clear-sky index below which a day brings enough rain to clean: MODELLING CHOICE",
    )
    max_loss: Share = Field(0.3, description="largest soiling loss; 0.30 in the worst year measured, PMC9649957")
    storms_per_year: float = Field(
        0.0, ge=0, le=366, description="mean number of random dust storms per year: MODELLING CHOICE"
    )
    storm_loss: Share = Field(
        0.06, description="loss that a random storm adds (half of Benguerir's worst week, 12 %): CHOICE"
    )
    storms: tuple[DustStorm, ...] = Field((), description="dust storms on given days")


Soiling = Annotated[ConstantSoiling | AccumulatingSoiling, Field(discriminator="kind")]


class LossesModel(Section):
    """System losses, after PVWatts version 5 (NREL/TP-6A20-62641); soiling and age have keys of their own."""

    shading: Share = Field(0.03, description="share of the power; PVWatts version 5")
    mismatch: Share = Field(0.02, description="share of the power; PVWatts version 5")
    wiring: Share = Field(0.02, description="share of the power; PVWatts version 5")
    connections: Share = Field(0.005, description="share of the power; PVWatts version 5")
    light_induced: Share = Field(0.015, description="share of the power; PVWatts version 5")
    nameplate: Share = Field(0.01, description="share of the power; PVWatts version 5")
    availability: Share = Field(0.03, description="share of the power; PVWatts version 5")


class PVModel(Section):
    """A PV array and its inverter, after PVWatts."""

    kwp: SitePower | None = Field(None, description="size [kW at standard test conditions], instead of kwp_per_node")
    kwp_per_node: SitePower = Field(12.0, description="size per GPU node [kW]: CHOICE")
    mount: Literal["fixed", "tracking"] = Field(
        "fixed", description="fixed, or tracking around a horizontal north-south axis"
    )
    tilt_deg: float = Field(30.0, ge=0.0, le=90.0, description="tilt of a fixed array from the horizontal [deg]")
    azimuth_deg: float | None = Field(
        None,
        ge=0.0,
        le=360.0,
        description="direction that a fixed array faces, 180: south [deg]; default: towards the equator",
    )
    axis_azimuth_deg: float = Field(180.0, ge=0.0, le=360.0, description="direction of the trackers' axis [deg]")
    max_angle_deg: float = Field(
        60.0, ge=1.0, le=90.0, description="largest angle to which trackers turn [deg]: CHOICE"
    )
    ground_cover: float = Field(
        0.4, ge=0.01, le=1.0, description="width of a tracker over the distance between rows: CHOICE"
    )
    backtrack: bool = Field(True, description="whether trackers turn back to keep rows from shading each other")
    albedo: Share = Field(0.2, description="share of the light that the ground reflects; pvlib: 0.2-0.25")
    dc_ac_ratio: float = Field(
        1.2, ge=0.1, le=10, description="power of the array over that of the inverter; PVWatts version 5"
    )
    inverter_efficiency: float = Field(
        0.98, ge=0.1, le=1, description="efficiency at nominal power; BACKGROUND KNOWLEDGE, medium"
    )
    temp_coeff_per_c: TempCoefficient = Field(
        -0.0037, description="temperature coefficient of the power [1/degC]; poly/mono PERC, BACKGROUND"
    )
    temp_model: Literal[
        "open_rack_glass_glass",
        "open_rack_glass_polymer",
        "close_mount_glass_glass",
        "insulated_back_glass_polymer",
    ] = Field("open_rack_glass_polymer", description="mounting, for the SAPM cell temperature; SAND2004-3535")
    losses: LossesModel = Field(default_factory=LossesModel, description="system losses")  # type: ignore[arg-type]
    soiling: Soiling = Field(default_factory=AccumulatingSoiling, description="loss to dust")  # type: ignore[arg-type]
    degradation_per_year: YearlyLoss = Field(0.005, description="loss for each year of age; Atlas Solar README, medium")
    age_years: NotNegative = Field(0.0, description="age at the start of the experiment [years]")
    series: SeriesModel | None = Field(None, description="AC power from a CSV file [kW], instead of the model")


Strategy = Literal["self-consumption", "peak-shaving", "tariff", "carbon"]


class BatteryModel(Section):
    """A battery, measured at its AC terminals, and how it is used."""

    kwh: Capacity | None = Field(None, description="capacity when new [kWh], instead of kwh_per_node")
    kwh_per_node: Capacity = Field(10.0, description="capacity per GPU node [kWh]: CHOICE")
    c_rate: float = Field(
        0.5,
        ge=0.001,
        le=1000,
        description="charging and discharging power over capacity [1/h]; 0.25-0.5, BACKGROUND KNOWLEDGE",
    )
    charge_kw: SitePower | None = Field(None, description="largest charging power [kW], instead of c_rate")
    discharge_kw: SitePower | None = Field(None, description="largest discharging power [kW], instead of c_rate")
    eta_charge: float = Field(
        0.922, ge=0.1, le=1, description="efficiency of charging; square root of 85 % round trip, NREL ATB, medium"
    )
    eta_discharge: float = Field(
        0.922, ge=0.1, le=1, description="efficiency of discharging; square root of 85 % round trip, NREL ATB, medium"
    )
    soc_min: Share = Field(0.05, description="lowest state of charge; depth of discharge 90 %: BACKGROUND")
    soc_max: Share = Field(0.95, description="highest state of charge")
    soc_start: Share | None = Field(None, description="state of charge at the start; default: soc_min")
    taper_soc: Share = Field(
        0.05, description="width of the band at either end in which the power limit falls to zero: CHOICE"
    )
    self_discharge_per_day: float = Field(
        0.0005, ge=0, le=0.99, description="share of the stored energy lost per day: CHOICE"
    )
    fade_per_cycle: Share = Field(
        3.33e-5, description="share of the capacity lost per cycle; 20 % over 6000 cycles, BACKGROUND"
    )
    fade_per_year: Share = Field(
        0.008, description="share of the capacity lost per year at 25 degC; 2 %/yr with daily cycles"
    )
    fade_doubling_c: float = Field(10.0, ge=1, le=1000, description="warming that doubles fade_per_year [degC]: CHOICE")
    replacement_mad_per_kwh: NotNegative = Field(
        1380.0,
        description="price of a new battery [MAD/kWh]; 150 USD/kWh (BESS in Morocco, 140-160) x 9.2 MAD/USD, medium",
    )
    end_of_life: float = Field(0.8, gt=0, lt=1, description="share of the capacity left when it is replaced")
    strategy: Strategy = Field("self-consumption", description="when it charges and discharges")
    peak_kw: SitePower | None = Field(None, description="peak-shaving: import to stay below [kW]")
    charge_below_mad_per_kwh: NotNegative | None = Field(
        None, description="tariff: price below which it charges; default: the lowest"
    )
    discharge_above_mad_per_kwh: NotNegative | None = Field(
        None, description="tariff: price above which it discharges; default: the highest"
    )
    charge_below_g_per_kwh: NotNegative | None = Field(
        None, description="carbon: intensity below which it charges; default: the lower quartile"
    )
    discharge_above_g_per_kwh: NotNegative | None = Field(
        None, description="carbon: intensity above which it discharges; default: the upper quartile"
    )

    @model_validator(mode="after")
    def _window(self) -> Self:
        if not self.soc_min < self.soc_max:
            raise ValueError(f"soc_min {self.soc_min} must be below soc_max {self.soc_max}")
        if self.soc_start is not None and not self.soc_min <= self.soc_start <= self.soc_max:
            raise ValueError(f"soc_start {self.soc_start} must be between soc_min and soc_max")
        if self.strategy == "peak-shaving" and self.peak_kw is None:
            raise ValueError("strategy 'peak-shaving' needs peak_kw, the import to stay below")
        if 0.0 < self.taper_soc < 1e-6:
            raise ValueError(f"taper_soc {self.taper_soc} should be 0 (no band) or at least a millionth")
        if 2.0 * self.taper_soc > self.soc_max - self.soc_min:
            raise ValueError(f"taper_soc {self.taper_soc} is more than half of the range from soc_min to soc_max")
        return self


class NodeModel(Section):
    """A kind of GPU node."""

    title: str = Field("", description="its name in tables and figures")
    gpus: int = Field(8, gt=0, le=1024, description="GPUs of a node")
    idle_kw: NodePower = Field(description="power of an empty node that is awake [kW]")
    loaded_kw: NodePower = Field(description="power with all GPUs busy [kW]")
    sleep_kw: NodePower = Field(description="power while asleep [kW]")
    wake_s: NotNegative = Field(180.0, description="time to wake up [s]: CHOICE")
    sleep_after_min: NotNegative = Field(
        10.0, description="time that it is empty before it goes to sleep [min]: CHOICE"
    )
    can_sleep: bool = Field(True, description="whether empty nodes sleep at all")
    speed: Positive = Field(1.0, description="work per GPU, relative to an A100")
    source: str = Field("", description="where the figures come from")
    confidence: str = Field("", description="how far to trust them")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.sleep_kw <= self.idle_kw <= self.loaded_kw:
            raise ValueError("a node needs sleep_kw <= idle_kw <= loaded_kw")
        return self


class WithdrawnModel(Section):
    """Nodes that are out of service for a while, for maintenance say; known in advance."""

    start: Instant = Field(description="from when, with a time zone")
    hours: float = Field(ge=1e-3, le=87_600, description="for how long [h]")
    nodes: int | None = Field(None, ge=1, le=1_000_000, description="how many; default: all of them")


class ClusterModel(Section):
    """The nodes of a site. No capacity of the institutes is published: ten nodes each is a CHOICE."""

    node: str | NodeModel = Field("a100", description="a kind of node of the catalogue, or your own")
    nodes: int = Field(10, ge=0, le=1_000_000, description="number of nodes: CHOICE")
    withdrawn: tuple[WithdrawnModel, ...] = Field((), description="nodes out of service on given dates")
    nodes_online: SeriesModel | None = Field(
        None, description="or a series of how many nodes are in service, rounded down"
    )

    @model_validator(mode="after")
    def _one_calendar(self) -> Self:
        if self.withdrawn and self.nodes_online is not None:
            raise ValueError("withdrawn and nodes_online both say how many nodes are in service; give one of them")
        for number, each in enumerate(self.withdrawn):
            if each.nodes is not None and each.nodes > self.nodes:
                raise ValueError(f"withdrawn[{number}].nodes = {each.nodes}: there are only {self.nodes} nodes")
        return self


class ConstantCooling(Section):
    """The same overhead at every temperature."""

    kind: Literal["constant"] = "constant"
    overhead: Overhead = Field(0.2, description="overhead power per watt of IT load; 0.2, trade press, low")


class PiecewiseCooling(Section):
    """PUE by outdoor temperature: linear between points, and beyond the last with the slope of the last two."""

    kind: Literal["piecewise"] = "piecewise"
    temp_c: tuple[Annotated[float, Field(ge=-100, le=100)], ...] = Field(
        (18.0, 30.0, 40.0), min_length=2, description="outdoor temperatures [degC]"
    )
    pue: tuple[Annotated[float, Field(ge=1, le=6)], ...] = Field(
        (1.12, 1.27, 1.47),
        min_length=2,
        description="PUE at each of them; 1.12 up to 18 degC, then +0.0125 per degC, from 30 degC +0.02: CHOICE",
    )

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if len(self.temp_c) != len(self.pue):
            raise ValueError(f"{len(self.temp_c)} temperatures but {len(self.pue)} values of pue")
        if any(b <= a for a, b in zip(self.temp_c, self.temp_c[1:], strict=False)):
            raise ValueError("temp_c must rise from point to point")
        if self.pue[0] < 1.0 or any(b < a for a, b in zip(self.pue, self.pue[1:], strict=False)):
            raise ValueError("pue must be at least 1 and must not fall with temperature")
        return self


class ChillerCooling(Section):
    """Fans and power conversion at all times, and a chiller whose COP falls as it gets hotter outside."""

    kind: Literal["chiller"] = "chiller"
    base: Overhead = Field(0.10, description="power of fans, pumps and UPS per watt of IT load: CHOICE")
    supply_c: float = Field(
        18.0, ge=-60, le=100, description="temperature that the chiller supplies [degC]; ASHRAE 18-27"
    )
    approach_c: float = Field(
        10.0, ge=0, le=100, description="condenser temperature above that of the outdoor air [degC]: CHOICE"
    )
    carnot_share: float = Field(0.45, ge=0.01, le=1, description="COP as a share of Carnot's: CHOICE")
    cop_max: float = Field(8.0, ge=0.1, le=100, description="highest COP: CHOICE")
    free_below_c: float = Field(
        20.0, ge=-100, le=100, description="below this, outdoor air alone cools [degC]; BACKGROUND, low"
    )
    chiller_above_c: float = Field(
        28.0, ge=-100, le=100, description="above this, the chiller alone cools [degC]; BACKGROUND, low"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.free_below_c < self.chiller_above_c:
            raise ValueError("free_below_c must be below chiller_above_c")
        return self


Cooling = Annotated[ConstantCooling | PiecewiseCooling | ChillerCooling, Field(discriminator="kind")]
