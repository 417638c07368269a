"""How metering itself is: what it decides now, what is held for how long, when it was audited."""
