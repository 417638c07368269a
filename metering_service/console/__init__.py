"""The console: web pages on the admin listener, for people with an admin key."""
