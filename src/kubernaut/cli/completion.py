"""`kubernaut completion SHELL`."""

import sys
from enum import StrEnum


class Shell(StrEnum):
    """Shells for which there is a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Shell, /) -> int:
    """Print the completion script of a shell.

    For bash: source <(kubernaut completion bash). For zsh: a file _kubernaut in a directory of $fpath. For fish:
    ~/.config/fish/completions/kubernaut.fish.
    """
    # The application is assembled in the module that registers this command.
    from kubernaut.cli.app import app

    sys.stdout.write(app.generate_completion(shell=shell.value))
    return 0
