"""A player joins, plays, drops, joins again, and gets the state back, with the calls of `job.py`."""

import os

import httpx

from job import Rejoin, main

ROOM = "arena-python"
control = httpx.Client(base_url=os.environ.get("SIM_URL", "http://127.0.0.1:8100") + f"/control/rooms/{ROOM}")


def player(method: str, path: str, **body) -> None:
    """What the app of a player does, through the simulated 100ms."""
    control.request(method, path, json=body).raise_for_status()


rejoin = Rejoin()

player("POST", "/peers", user_id="ada-python", peer_id="first")
assert rejoin.resume("ada-python") is None
for level in (1, 2, 3):
    player("PUT", "/peers/first/metadata", metadata=f'{{"level":{level}}}')
    rejoin.snapshot_room(ROOM)

player("POST", "/peers/first/drop")
player("POST", "/peers", user_id="ada-python", peer_id="second")
main(ROOM)

state = rejoin.resume("ada-python", exclude_peer_id="second")
assert state is not None and state["metadata_raw"] == '{"level":3}', state
restored = rejoin.restore("ada-python", ROOM, "second", claimed_by="nightly-job")
assert restored["restored"] and restored["claim"]["claimed_by"] == "nightly-job", restored
levels = [row["metadata_raw"] for row in rejoin.history("ada-python") if row["peer_id"] == "first"]
assert levels == ['{"level":3}', '{"level":2}', '{"level":1}'], levels
late = rejoin.call("POST", "/v1/users/ada-python/resume", json={"claimed_by": "another-job"})
assert (late.status_code, late.json()["code"]) == (409, "already-claimed"), late.text
print("the player has the state back")
