"""Billing of facts, whatever they are: outbox and fence, relay, sweeper, client of metering. See README.md."""
