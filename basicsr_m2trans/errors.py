"""The one exception type for mistakes that the user can mend."""


class InputError(ValueError):
    """A file, key or option given by the user cannot be used.

    The message names the file, key or option and says what to do. The launchers and the
    `m2trans` command print it without a traceback and exit with status 2.
    """
