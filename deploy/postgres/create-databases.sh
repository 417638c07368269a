#!/bin/bash
# Run by the PostgreSQL image when its volume is new: a database and its owner for each service.
set -euo pipefail
for service in catalog activity metering; do
  variable=${service^^}_DATABASE_PASSWORD
  export SERVICE=$service PASSWORD=${!variable}
  # Through the environment: an argument can be read by every process of the machine.
  psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv service SERVICE
\getenv password PASSWORD
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
done
