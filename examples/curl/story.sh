#!/usr/bin/env bash
# A player joins, plays, drops, joins again, and gets the state back.
set -euo pipefail
rejoin=${REJOIN_URL:-http://127.0.0.1:8080}
control=${SIM_URL:-http://127.0.0.1:8100}/control/rooms/arena-curl
key=(${REJOIN_API_KEY:+--header "Authorization: Bearer $REJOIN_API_KEY"})

player() { curl --silent --show-error --fail --output /dev/null "$@"; }
call() { curl --silent --show-error --fail-with-body "${key[@]}" "$@"; }
expect() { # what, expected, found
  [ "$2" = "$3" ] || { echo "$1 is $3, and should be $2" >&2; exit 1; }
  echo "$1: $3"
}

# Ada joins, and plays up to level 4.
player -X POST "$control/peers" -d '{"user_id": "ada-curl", "peer_id": "first"}'
player -X PUT "$control/peers/first/metadata" -d '{"metadata": "{\"level\":4}"}'

# The game server takes a snapshot of the room now and then; or rejoin does so by itself, with a watch.
snapshots=$(call -X POST "$rejoin/v1/rooms/arena-curl/snapshots")
expect "peers in the snapshot" 1 "$(jq '.snapshots | length' <<<"$snapshots")"

# She drops, and joins again: a new peer, without metadata.
player -X POST "$control/peers/first/drop"
player -X POST "$control/peers" -d '{"user_id": "ada-curl", "peer_id": "second"}'

# The game server resumes her state.
resume=$(call "$rejoin/v1/users/ada-curl/resume?exclude_peer_id=second")
expect "the state" '{"level":4}' "$(jq --raw-output .metadata_raw <<<"$resume")"

# Or it lets rejoin write the state to the new peer, and claims it, so that no other server does the same.
body='{"room_id": "arena-curl", "peer_id": "second", "claimed_by": "server-1"}'
restored=$(call -X POST "$rejoin/v1/users/ada-curl/resume" -d "$body")
expect "restored" true "$(jq .restored <<<"$restored")"

# Another server is too late.
late=$(call -X POST "$rejoin/v1/users/ada-curl/resume" -d '{"claimed_by": "server-2"}' 2>/dev/null || true)
expect "the second claim" already-claimed "$(jq --raw-output .code <<<"$late")"
expect "the holder" server-1 "$(jq --raw-output .claim.claimed_by <<<"$late")"
