"""The fault campaign: a stack of its own, a random workload, faults of every kind, and a checker for what comes out.

Nothing in here is part of the product, and nothing of the product imports it.
"""
