"""All clients side by side, and how each came to its balance."""
