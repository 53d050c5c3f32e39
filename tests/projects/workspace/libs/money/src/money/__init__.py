"""Prices, in whole cents."""

from dateutil.parser import parse


def year(day: str) -> int:
    return parse(day).year
