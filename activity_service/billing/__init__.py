"""The service's side of billing: outbox, relay, reconciliation. Knows no plan plays."""
