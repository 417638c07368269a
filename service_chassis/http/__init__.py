"""The HTTP frame of a service: server, connections, bounds, bodies, responses, errors."""
