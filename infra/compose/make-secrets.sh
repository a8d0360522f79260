#!/bin/sh
# Makes the secrets that compose.yaml hands to the units, once. They stay out of version control.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
# Hexadecimal, so that it needs no escapes inside a URL.
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
[ -e secrets/turn.secret ] || random > secrets/turn.secret
if [ ! -e secrets/database-password ]; then
    password=$(random)
    printf %s "$password" > secrets/database-password
    printf 'postgres://sightline:%s@postgres/sightline' "$password" > secrets/database-url
fi
# The folder keeps other people of this machine out. Compose shows each file to its containers as it
# is, and they run as users of their own.
chmod 700 secrets
chmod 644 secrets/*
