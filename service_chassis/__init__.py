"""What makes a process a service here, and nothing of what any service is about."""
