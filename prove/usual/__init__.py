"""The same plays, sold as most people write it: two small servers, to be held against the product.

Nothing in them is made worse than it is found in the field: each remembers Idempotency-Keys under a unique key, each
charges in a transaction, and each fails for the one reason that its first lines name.
"""
