"""The exception for mistakes of the user."""


class UserError(Exception):
    """A mistake that the user can correct. It is printed as one line, and the exit code is 2.

    The message has the place, what was found there, what is valid, and the command to type.
    """
