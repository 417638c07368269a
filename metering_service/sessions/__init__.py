"""Who is logged in to the console."""
