"""`slipway` is `python -m slipway`."""

import gc


def main() -> None:
    # All that is loaded stays to the end: looking through it for garbage, while it is loaded, later and at the exit, is
    # a sixth of a plan's time.
    gc.disable()
    from slipway.cli import main

    gc.freeze()
    gc.enable()
    main.main()


if __name__ == "__main__":
    main()
