"""The policies that everybody compares with, as whole presets.

All place jobs at home if they fit there, else where the largest share of GPUs is free, and none looks at
energy. Those with `backfill="none"` start strictly in their order; those that only rank use first fit.
"""

from __future__ import annotations

from simulator.policies import order
from simulator.policies.preempt import LeastAttained, Preemptive, ShortestRemaining
from simulator.policies.preset import Preset
from simulator.policies.scheduler import Parts

_MUALEM = "Mu'alem and Feitelson 2001, https://doi.org/10.1109/71.932708"
_TSAFRIR = "Tsafrir, Etsion and Feitelson 2007, https://doi.org/10.1109/TPDS.2007.70606"
_TANG = "Tang et al. 2009, https://doi.org/10.1109/CLUSTR.2009.5289206"
_CARASTAN = "Carastan-Santos and de Camargo 2017, https://doi.org/10.1145/3126908.3126955"
_FEITELSON = "Feitelson, Rudolph and Schwiegelshohn 2005, https://doi.org/10.1007/11407522_1"

CLASSIC: dict[str, Preset] = {
    "fcfs": Preset(Parts(backfill="none"), "Strict first come, first served: nobody overtakes anybody.", _FEITELSON),
    "sjf": Preset(Parts(order.shortest), "Shortest estimate first, whoever fits.", _FEITELSON),
    "ljf": Preset(Parts(order.longest), "Longest estimate first, whoever fits.", _FEITELSON),
    "edf": Preset(
        Parts(order.deadline),
        "Earliest deadline first, whoever fits.",
        "Liu and Layland 1973, https://doi.org/10.1145/321738.321743",
    ),
    "easy-sjbf": Preset(
        Parts(backfill="easy", ahead=order.shortest),
        "As easy, but of those who may go ahead the shortest goes first.",
        _TSAFRIR,
    ),
    "conservative": Preset(
        Parts(backfill="conservative"),
        "Everybody who waits has a reservation that nobody may delay.",
        _MUALEM,
    ),
    "fair": Preset(
        Parts(order.FairShare),
        "The region that has used the fewest GPU hours of late goes first.",
        "decayed usage as in Slurm's multifactor priority, https://slurm.schedmd.com/priority_multifactor.html",
    ),
    "wfp3": Preset(Parts(order.wfp3), "Largest (wait / estimate)^3 x GPUs first, whoever fits.", _TANG),
    "unicep": Preset(Parts(order.unicep), "Largest wait / (log2 GPUs x estimate) first, whoever fits.", _TANG),
    "f1": Preset(Parts(order.f1), "Least log10(estimate) x GPUs + 870 log10(submission) first.", _CARASTAN),
    "srtf": Preset(
        lambda name: Preemptive(name, ShortestRemaining()),
        "Shortest remaining estimate first; pauses longer jobs for shorter ones.",
        "Schrage 1968, https://doi.org/10.1287/opre.16.3.687",
    ),
    "las": Preset(
        lambda name: Preemptive(name, LeastAttained()),
        "Jobs that have had less than a GPU-hour go before all others, which are paused for them.",
        "Tiresias; Gu et al. 2019, https://www.usenix.org/conference/nsdi19/presentation/gu",
    ),
}
