"""A player's story by the client that openapi-python-client generates: snapshot, resume, restore, claim, history, and failures."""

import json
import sys
import urllib.request

from rejoin_client import AuthenticatedClient, Client
from rejoin_client.api.history import list_history
from rejoin_client.api.resume import get_resume, restore
from rejoin_client.api.snapshot import snapshot_peer, snapshot_room
from rejoin_client.models import ClaimProblem, Problem, RestoreAnswer, RestoreBody, Resume, Snapshot
from rejoin_client.models.problem_code import ProblemCode

BASE, SIM, KEY = sys.argv[1:]
STATE = '{"checkpoint":"cave-3","hp":71}'
ROOM = "python"


def control(path: str, body: dict[str, str]) -> None:
    request = urllib.request.Request(f"{SIM}/control/rooms/{ROOM}{path}", json.dumps(body).encode(), method="POST")
    urllib.request.urlopen(request).close()


def code(answer: object) -> ProblemCode:
    assert isinstance(answer, (Problem, ClaimProblem)), answer
    return answer.code


client = AuthenticatedClient(BASE, KEY)
assert code(get_resume.sync("grace", client=client)) == ProblemCode.NO_SAVED_METADATA

control("/peers", {"user_id": "grace", "peer_id": "first", "metadata": STATE})
taken = snapshot_peer.sync(ROOM, "first", client=client)
assert isinstance(taken, Snapshot) and taken.metadata_raw == STATE, taken
room = snapshot_room.sync(ROOM, client=client)
assert [snapshot.peer_id for snapshot in room.snapshots] == ["first"], room

resumed = get_resume.sync("grace", client=client)
assert isinstance(resumed, Resume) and resumed.metadata_raw == STATE, resumed
etag = get_resume.sync_detailed("grace", client=client).headers["etag"]
assert get_resume.sync_detailed("grace", client=client, if_none_match=etag).status_code == 304

control("/peers", {"user_id": "grace", "peer_id": "second"})
control("/peers", {"user_id": "bob", "peer_id": "other"})
body = RestoreBody(room_id=ROOM, peer_id="second", claimed_by="server-1")
restored = restore.sync("grace", client=client, body=body)
assert isinstance(restored, RestoreAnswer) and restored.restored, restored
assert restored.metadata_raw == STATE and restored.claim.claimed_by == "server-1", restored
claimed = restore.sync("grace", client=client, body=RestoreBody(claimed_by="server-2"))
assert code(claimed) == ProblemCode.ALREADY_CLAIMED
foreign = restore.sync("grace", client=client, body=RestoreBody(room_id=ROOM, peer_id="other"))
assert code(foreign) == ProblemCode.PEER_NOT_OF_USER
unsaved = restore.sync("bob", client=client, body=RestoreBody(room_id=ROOM, peer_id="other"))
assert isinstance(unsaved, RestoreAnswer) and unsaved.why == "nothing-saved", unsaved

history = list_history.sync("grace", client=client, limit=1)
assert len(history.snapshots) == 1 and history.next_cursor, history
assert code(snapshot_peer.sync(ROOM, "nobody", client=client)) == ProblemCode.PEER_NOT_FOUND
assert code(get_resume.sync("grace", client=Client(BASE))) == ProblemCode.UNAUTHORIZED
print("the Python client works")
