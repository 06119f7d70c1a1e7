#!/bin/sh
# Makes a password for each login, once, on a volume of the login's own, where the containers' user (65532) can read it and
# change nothing. The URL's password is hexadecimal: nothing in it needs escaping.
set -eu
umask 077
logins=${LOGINS:-/logins}

for login in admin migrator ingest analyst auditor approver rotator; do
    dir=$logins/$login
    if [ ! -s "$dir/pgpass" ]; then
        password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
        user=cloakroom_compose_$login
        [ "$login" != admin ] || user=postgres
        printf '%s' "$password" >"$dir/password"
        printf 'postgres://%s:%s@postgres:5432/cloakroom?sslmode=disable' "$user" "$password" >"$dir/url"
        printf 'postgres:5432:*:%s:%s\n' "$user" "$password" >"$dir/pgpass"
    fi
    chown -R 65532:65532 "$dir"
    chmod 0500 "$dir"
    chmod 0400 "$dir"/*
done

# The server reads the superuser's password as its own user.
chgrp postgres "$logins/admin" "$logins/admin/password"
chmod 0550 "$logins/admin"
chmod 0440 "$logins/admin/password"
