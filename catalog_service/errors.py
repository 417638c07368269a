"""What an operator asked for that cannot be done."""

from service_chassis.errors import OperatorError


class ClientNotFound(OperatorError):
    """No client has this id."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"there is no client {client_id!r}")


class ClientExists(OperatorError):
    """A client with this id is registered already."""

    def __init__(self, client_id: str) -> None:
        super().__init__(f"client {client_id!r} exists already")
