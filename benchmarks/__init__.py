"""Measurements of Slipway against other ways to the same end, each on throwaway hosts of its own."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
