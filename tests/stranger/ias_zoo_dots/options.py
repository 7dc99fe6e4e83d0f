from dataclasses import dataclass

from ias_zoo import option


@dataclass(frozen=True)
class DotsOptions:
    radius: float = option(0.1, "radius as a share of the shorter side")
