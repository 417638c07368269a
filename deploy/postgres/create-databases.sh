#!/bin/bash
# Make what is absent: for each service a database, its owner, who migrates it, and, where it has row-level security,
# the role that the service logs in as, which owns nothing. Set all passwords to what their files say.
# The PostgreSQL image runs this when its volume is new; run again it changes passwords:
#   docker compose exec postgres bash /docker-entrypoint-initdb.d/create-databases.sh
set -euo pipefail

# Through the environment: an argument can be read by every process of the machine.
run_sql() {
  psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --username postgres --dbname postgres
}

set_password() {
  ROLE=$1 PASSWORD=$(cat "/run/secrets/$1_password")
  [ -n "$PASSWORD" ] || { echo "create-databases: the file of the password of $1 is empty" >&2; exit 1; }
  export ROLE PASSWORD
  run_sql <<'SQL'
\getenv role ROLE
\getenv password PASSWORD
SELECT format('CREATE ROLE %I LOGIN', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'password';
SQL
}

set_password postgres
for service in catalog activity metering; do
  set_password "$service"
  SERVICE=$service run_sql <<'SQL'
\getenv service SERVICE
SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C''', :'service', :'service')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \gexec
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
done
for service in catalog activity; do
  set_password "${service}_service"
  SERVICE=$service run_sql <<'SQL'
\getenv service SERVICE
SELECT :'service' || '_service' AS role \gset
GRANT CONNECT ON DATABASE :"service" TO :"role";
GRANT :"role" TO :"service";
SQL
done
