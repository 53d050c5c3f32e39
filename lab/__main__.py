"""`python -m lab` is `slipway lab`."""

from lab.cli import lab
from lab.steps import StepFailed

try:
    lab(standalone_mode=True)
except StepFailed as error:
    raise SystemExit(str(error)) from None
