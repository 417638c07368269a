"""Operators' command lines, and the report of an audit."""
