"""Territories and regions in one spelling: ISO 3166-1 alpha-2 codes, and two groups of them."""

from __future__ import annotations

from collections.abc import Iterable

WORLDWIDE = "worldwide"

_ALL = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
    MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV
    TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
CODES = frozenset(_ALL.split())

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"  # since 2020-02-01
GROUPS = {"EU": frozenset(_EU.split()), "EEA": frozenset([*_EU.split(), "IS", "LI", "NO"])}

EVERYWHERE = frozenset({"XX", "XY"})
"""X's codes of a post withheld in every country, and of one withheld after a copyright complaint."""


def expanded(names: Iterable[str]) -> frozenset[str]:
    """The names, the countries of each group among them, and the groups that lie wholly within."""
    inside = frozenset(country for name in names for country in (name, *GROUPS.get(name, ())))
    return inside | {group for group, members in GROUPS.items() if members <= inside}


def wider(names: Iterable[str]) -> frozenset[str]:
    """The groups that hold any of the countries, or of the groups' countries."""
    inside = expanded(names)
    return frozenset(group for group, members in GROUPS.items() if members & inside)


def is_known(name: str) -> bool:
    """Whether it is a country's code or a group."""
    return name in CODES or name in GROUPS
