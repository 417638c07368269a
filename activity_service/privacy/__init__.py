"""What is held about one user: exported and erased."""
