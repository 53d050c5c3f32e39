"""`python -m slipway.lab`, the same as `slipway lab`."""

from slipway.lab.cli import lab
from slipway.lab.steps import StepFailed

try:
    lab(standalone_mode=True)
except StepFailed as error:
    raise SystemExit(str(error)) from None
