"""Billable events: authorized, settled, released."""
