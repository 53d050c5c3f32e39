"""`slipway` is `python -m slipway`."""

import gc


def main() -> None:
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
