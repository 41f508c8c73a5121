#!/bin/sh
# Makes the token that a cluster's machines and clients know each other by. Keeps one that is there.
set -eu
folder="$HOME/.ray/hopsearch"
umask 077
mkdir -p "$folder"
test -s "$folder/auth_token" || python3 -c 'import secrets; print(secrets.token_hex(32), end="")' > "$folder/auth_token"
chmod 600 "$folder/auth_token"
echo "$folder/auth_token"
