"""Shadow policies: what they would have refused."""
