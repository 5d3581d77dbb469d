"""The one exception that a user may see."""


class UserError(Exception):
    """A user's slip: where, what was found, what would do, the command to type. Printed as one
    line, exit 2.
    """
