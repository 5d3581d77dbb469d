"""The `kdbatch` script, and `python -m kdbatch`; Ctrl-C prints nothing, even during imports."""

import os
import signal


def main() -> None:
    """Run the command line of this process, and exit."""
    # A shell that starts a command in the background may have it ignore Ctrl-C.
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, _exit_at_once)
    from kdbatch.cli.commands import main as run_commands

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_commands()
    except KeyboardInterrupt:
        os._exit(130)
    finally:
        if is_default:  # Python takes a moment to end, in which there is nothing left to interrupt
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exit_at_once(number: int, frame: object) -> None:
    """End while modules are imported, when nothing was begun yet."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
