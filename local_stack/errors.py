"""The one error of the local stack: something the person at the keyboard can mend."""


class StackError(Exception):
    """Say in one line what is wrong, naming the variable, port or file, and what mends it.

    The command line prints it without a traceback and exits with status 1.
    """
