"""Plan plays and their side of billing: the fact, its fence, and what tells metering about it."""
