"""`slipway completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from slipway.cli.main import cli
from slipway.cli.options import examples


@click.command(
    epilog=examples(
        'eval "$(slipway completion bash)"   # in ~/.bashrc',
        'eval "$(slipway completion zsh)"    # in ~/.zshrc',
        "slipway completion fish | source    # in config.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script."""
    of_shell = get_completion_class(shell)
    assert of_shell
    click.echo(of_shell(cli, {}, "slipway", "_SLIPWAY_COMPLETE").source())
