"""Programs that are measured beside the product, and the bench's own ways of starting it."""
