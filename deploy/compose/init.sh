#!/bin/sh
# Prepares the database: a login for each role, the vault, and who holds which role. Safe to run again.
set -eu
logins=${LOGINS:-/logins}

# The superuser is used for one thing: making logins. What comes after takes the migrator, as in production.
export PGHOST="${PGHOST:-postgres}" PGUSER=postgres PGDATABASE=cloakroom
PGPASSWORD=$(cat "$logins/admin/password")
export PGPASSWORD
for login in migrator ingest analyst auditor approver rotator; do
    # psql reads the password from its file: it is on no command line.
    PASSWORD_FILE=$logins/$login/password psql -X -q -v ON_ERROR_STOP=1 -v login="cloakroom_compose_$login" <<'SQL'
\set password `cat "$PASSWORD_FILE"`
SELECT format('CREATE ROLE %I LOGIN', :'login') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'login') \gexec
ALTER ROLE :"login" PASSWORD :'password';
SQL
done
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
ALTER ROLE cloakroom_compose_migrator CREATEROLE;
ALTER DATABASE cloakroom OWNER TO cloakroom_compose_migrator;
SQL
unset PGPASSWORD

keys init
for role in ingest analyst auditor approver rotator; do
    keys grant "cloakroom_compose_$role" --role "$role"
done
