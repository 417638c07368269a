"""The whole product on this machine: embedded servers, the three services, demo data, one process to stop.

Nothing in here runs in production; the services do not import it.
"""
