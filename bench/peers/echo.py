"""`python -m bench.peers.echo PORT`: send back what comes, one connection after the other."""

import socket
import sys

MESSAGE_BYTES = 64


def main() -> None:
    """Serve until it is ended."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while data := connection.recv(MESSAGE_BYTES):
                    connection.sendall(data)


if __name__ == "__main__":
    main()
