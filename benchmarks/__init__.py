"""Measurements of Slipway against other tools for the same result, each on its own throwaway hosts."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
