"""Marshmallow schemas, compiled to load and dump at the cost of plain Python."""
