"""PostgreSQL: pools, migrations, row-level security."""
