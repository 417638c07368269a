"""What an operator did that cannot be done; the text is the whole message, in one line."""


class OperatorError(Exception):
    """A command that was refused. Nothing was changed."""


class ClientNotFound(OperatorError):
    """No client has this id."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"there is no client {client_id!r}")


class ClientExists(OperatorError):
    """A client with this id is registered already."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"client {client_id!r} exists already")
