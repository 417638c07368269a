"""What a team runs the product with: the compose file, the proxies, the scripts."""
