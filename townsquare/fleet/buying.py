"""Buy or rent: purchase, power and resale against the price of an hour."""

from __future__ import annotations

from typing import Any

from townsquare.fleet.hardware import Gpu

SERVER_POWER = 10.2 / 5.6
"""A server's power over its GPUs': DGX H100, at most 10.2 kW, eight of 700 W (NVIDIA's data sheet)."""
COOLING = 1.25
"""A data centre's power over its servers'; an assumption between Google's 1.1 and the 1.56 of a survey (Uptime
Institute, 2024)."""
LEFT_OUT = "left out: space, network, staff, interest, and the wait for delivery"


def buy_or_rent(
    kind: Gpu, usd_per_gpu_hour: float | None, training_days: float, usd_per_kwh: float, resale_share: float
) -> dict[str, Any]:
    """For one GPU in use all day: both costs, the cheaper, and the days from which buying is.

    Null where purchase price, power or rent are unknown.
    """
    known = kind.purchase_usd is not None and kind.power_watts is not None and usd_per_gpu_hour is not None
    if not known:
        return {"cheaper": None, "why": f"the purchase price, power or rent of {kind.name} is unknown"}
    assert kind.purchase_usd is not None
    assert kind.power_watts is not None
    assert usd_per_gpu_hour is not None
    power = kind.power_watts / 1000 * SERVER_POWER * COOLING * usd_per_kwh
    loss = kind.purchase_usd * (1 - resale_share)
    hours = 24 * training_days
    rent, own = usd_per_gpu_hour * hours, loss + power * hours

    def even(lost: float) -> float | None:
        return lost / (usd_per_gpu_hour - power) / 24 if usd_per_gpu_hour > power else None

    return {
        "cheaper": "buy" if own < rent else "rent",
        "rent_usd_per_gpu": rent,
        "buy_usd_per_gpu": own,
        "purchase_usd_per_gpu": kind.purchase_usd,
        "purchase_source": kind.purchase_source,
        "power_usd_per_gpu_hour": power,
        "buying_is_cheaper_from_days": even(loss),
        "buying_is_cheaper_from_days_without_resale": even(kind.purchase_usd),
        "remark": LEFT_OUT,
    }
