#!/bin/sh
# Makes a database cluster at the first start, then becomes the server. What it is told is what the widely used
# image of PostgreSQL is told: POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, PGDATA.
set -eu
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    password=$(cat "$POSTGRES_PASSWORD_FILE")
  else
    password=${POSTGRES_PASSWORD:?set it or POSTGRES_PASSWORD_FILE}
  fi
  umask 077
  # It gets its name when it is whole: a start that was cut off begins anew.
  new=$PGDATA.new
  rm -rf "$new"
  mkdir -p "$new"
  printf '%s\n' "$password" >"$new.password"
  initdb --pgdata="$new" --username="$user" --pwfile="$new.password" \
    --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --locale=C.UTF-8
  rm "$new.password"
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -j -D "$new" postgres >/dev/null
  fi
  if [ -d "$PGDATA" ] && ! rmdir "$PGDATA"; then
    echo "$PGDATA holds files that are no database, or is a mount point: name a new directory inside the volume" >&2
    exit 1
  fi
  mv "$new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c "listen_addresses=*" -c "unix_socket_directories=/var/run/postgresql" "$@"
