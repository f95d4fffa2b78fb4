"""A backend job: saves a room, and prints what its players would resume and what they did before."""

import os
import sys
import time

import httpx


class Rejoin:
    """The calls of a job. A rejoin that is away for a while is asked again."""

    def __init__(self) -> None:
        key = os.environ.get("REJOIN_API_KEY")
        self.http = httpx.Client(
            base_url=os.environ.get("REJOIN_URL", "http://127.0.0.1:8080"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=10,
        )

    def call(self, method: str, path: str, **arguments) -> httpx.Response:
        """The answer; of 503 the next one, after the wait that rejoin asks for."""
        for _ in range(3):
            answer = self.http.request(method, path, **arguments)
            if answer.status_code != 503:
                break
            time.sleep(int(answer.headers.get("retry-after", "1")))
        return answer

    def snapshot_room(self, room: str) -> dict:
        return self.call("POST", f"/v1/rooms/{room}/snapshots").raise_for_status().json()

    def resume(self, user: str, **filters) -> dict | None:
        """The saved state; None where there is none."""
        answer = self.call("GET", f"/v1/users/{user}/resume", params=filters)
        if answer.status_code == 404 and answer.json()["code"] == "no-saved-metadata":
            return None
        return answer.raise_for_status().json()

    def restore(self, user: str, room: str, peer: str, claimed_by: str) -> dict:
        body = {"room_id": room, "peer_id": peer, "claimed_by": claimed_by}
        return self.call("POST", f"/v1/users/{user}/resume", json=body).raise_for_status().json()

    def history(self, user: str):
        """All rows, newest first."""
        cursor = None
        while True:
            filters = {"cursor": cursor} if cursor else {}
            page = self.call("GET", f"/v1/users/{user}/snapshots", params=filters).raise_for_status().json()
            yield from page["snapshots"]
            cursor = page["next_cursor"]
            if cursor is None:
                return


def main(room: str) -> None:
    rejoin = Rejoin()
    taken = rejoin.snapshot_room(room)
    for skipped in taken["skipped"]:
        print(f"{skipped['peer_id']} was not saved: {skipped['detail']}")
    for user in sorted({snapshot["user_id"] for snapshot in taken["snapshots"]}):
        state = rejoin.resume(user)
        print(f"{user} would resume {state and state['metadata_raw']}")
        for row in rejoin.history(user):
            print(f"  {row['first_observed_at']} {row['peer_id']} {row['metadata_raw']}")


if __name__ == "__main__":
    main(sys.argv[1])
