"""Several processes of a service behind one port, and one that speaks for all of them."""
