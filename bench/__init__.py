"""How fast the product is, as ratios to what people would use instead: one question per file, one program for all.

Nothing in here runs in production, and nothing imports it.
"""
