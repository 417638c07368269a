"""Holds plays against their billable events, and both against metering's charges."""
