#!/bin/bash
# Run by the PostgreSQL image when its volume is new: for each service a database, its owner, who migrates it, and,
# where it has row-level security, the role that the service logs in as, which owns nothing.
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
for service in catalog activity; do
  variable=${service^^}_SERVICE_PASSWORD
  export SERVICE=$service PASSWORD=${!variable}
  psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv service SERVICE
\getenv password PASSWORD
SELECT :'service' || '_service' AS role \gset
CREATE ROLE :"role" LOGIN PASSWORD :'password';
GRANT CONNECT ON DATABASE :"service" TO :"role";
GRANT :"role" TO :"service";
SQL
done
