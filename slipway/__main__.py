"""`slipway` is `python -m slipway`."""

import gc
import os
import sys


def _open_streams() -> None:
    """A stream that the shell has closed (>&-) is None to Python, and its number would be that of the next file."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  as long as the process


def main() -> None:
    _open_streams()
    # Imported modules are never garbage: collecting while they load, later and at exit is a sixth of a plan's time.
    gc.disable()
    from slipway.cli import main

    gc.freeze()
    # More are imported while hosts are connected; Python's own threshold of 700 objects is for programs that stay.
    gc.set_threshold(50_000)
    gc.enable()
    try:
        main.main()
    finally:
        # Python collects once more at its exit, whatever has been loaded since.
        gc.freeze()


if __name__ == "__main__":
    main()
