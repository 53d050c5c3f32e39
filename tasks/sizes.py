"""Sizes that a server keeps unless its settings name others: an owner's swap file and logs."""

from __future__ import annotations

from pyinfra import host

from slipway.facts.sizes import JOURNAL_KEPT, Sizes
from slipway.settings.model import Settings

# In MiB. journald removes its oldest entries as soon as it has a smaller limit: with room for new ones, and a step, so
# that the limit is the same while the journal grows between a plan and an apply.
JOURNAL_ROOM = 500


def swap_mb(settings: Settings) -> int:
    """The size of the swap file: `swap_mb`, or as it is if that is not set."""
    there = int(host.get_fact(Sizes).get("swap", 0))
    return settings.swap_mb if "swap_mb" in settings.model_fields_set or not there else there


def new_swap_mb(settings: Settings) -> int:
    """The size of the swap file to create, 0 if there is one of that size."""
    wanted = swap_mb(settings)
    return 0 if host.get_fact(Sizes).get("swap") == str(wanted) else wanted


def journal_max_mb(settings: Settings) -> int:
    """The limit of the journal: `journal_max_mb`, or if that is not set at least what an owner's journal needs."""
    found: dict[str, str] = host.get_fact(Sizes)
    if "journal_max_mb" in settings.model_fields_set:
        return settings.journal_max_mb
    journal = int(found.get("journal", 0))
    needed = -(-(journal + JOURNAL_ROOM) // JOURNAL_ROOM) * JOURNAL_ROOM if journal > settings.journal_max_mb else 0
    return max(settings.journal_max_mb, needed, int(found.get("limit", 0)))


def journal_configuration(settings: Settings) -> str:
    """journald.conf(5) with that limit."""
    limit = journal_max_mb(settings)
    kept = "" if limit == settings.journal_max_mb else f"{JOURNAL_KEPT}\n"
    return f"[Journal]\nStorage=persistent\n{kept}SystemMaxUse={limit}M\n"


def remarks(settings: Settings) -> list[str]:
    """What stays of a server's own, for a plan before its adoption."""
    swap, journal = swap_mb(settings), journal_max_mb(settings)
    kept = [f"/swapfile: {swap} MiB stay (to have another size: swap_mb)"] if swap != settings.swap_mb else []
    if journal != settings.journal_max_mb:
        kept.append(f"/var/log/journal: its limit is {journal} MiB, so that no entry goes (journal_max_mb)")
    return kept
