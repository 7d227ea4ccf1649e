"""Grants and exclusions as inputs of later stages: what they say, and what holds on a day."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json

from townsquare.consent.exclusions import exclusions_of
from townsquare.consent.grants import grants_of, read_grants, verified_entries
from townsquare.receipts import Input
from townsquare.square import Square


def grants_input(square: Square) -> Input:
    """All grants and exclusions: it changes when one is added, revoked or lifted."""
    entries = verified_entries(square)
    record = [dataclasses.asdict(grant) for grant in grants_of(entries)]
    record += [dataclasses.asdict(exclusion) for exclusion in exclusions_of(entries)]
    return Input("grants", hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest())


def in_force_input(square: Square, at: dt.date) -> Input:
    """Which grants hold on the day: it changes when one begins or ends."""
    live = sorted(grant.id for grant in read_grants(square) if grant.live(at))
    return Input("grants_in_force", hashlib.sha256("\n".join(live).encode()).hexdigest())
