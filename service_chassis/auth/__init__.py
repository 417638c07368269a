"""Access tokens, and the public keys that they are verified with."""
