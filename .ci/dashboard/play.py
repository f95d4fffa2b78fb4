"""Players who join, play, drop and come back, so that every panel has something to show."""

import itertools
import json
import random
import time

WEBHOOKS = "/v1/webhooks/100ms"
ROOM = "627cda81ab4f3b56a077dc33"
OTHER_ROOM = "627cda81ab4f3b56a077dc34"
PLAYERS = 12


class Game:
    def __init__(self, rejoin, sim):
        self.rejoin, self.sim = rejoin, sim
        self.ids, self.peers, self.random = itertools.count(1), {}, random.Random(7)

    def join(self, user):
        peer = f"{user}-{next(self.ids)}"
        self.sim.expect(201, "POST", f"/rooms/{ROOM}/peers", {"user_id": user, "peer_id": peer})
        self.peers[user] = peer
        return peer

    def play(self, user):
        state = json.dumps({"level": self.random.randrange(100)})
        self.sim.expect(200, "PUT", f"/rooms/{ROOM}/peers/{self.peers[user]}/metadata", {"metadata": state})

    def snapshot_room(self):
        self.rejoin.expect(200, "POST", f"/v1/rooms/{ROOM}/snapshots")

    def resume(self, user, expected=200, filters=""):
        self.rejoin.expect(expected, "GET", f"/v1/users/{user}/resume{filters}")

    def drop(self, user):
        self.sim.expect(200, "POST", f"/rooms/{ROOM}/peers/{self.peers.pop(user)}/drop", {})

    def come_back(self, user):
        """With a new peer, which an automatic restore or this request fills."""
        peer = self.join(user)
        if self.random.random() < 0.5:
            body = {"room_id": ROOM, "peer_id": peer, "claimed_by": f"server-{peer}"}
            status, answer = self.rejoin.call("POST", f"/v1/users/{user}/resume", body)
            # Who drops again before they play has a state that the last server has claimed.
            if status not in (200, 409):
                raise SystemExit(f"a restore: {status}: {answer}")

    def once(self):
        """What goes wrong now and then."""
        self.resume("nobody", 404)
        self.rejoin.expect(404, "POST", f"/v1/rooms/{OTHER_ROOM}/snapshots")
        self.rejoin.expect(401, "POST", WEBHOOKS, {}, {"x-rejoin-secret": "a wrong one"})
        self.sim.expect(201, "POST", f"/rooms/{ROOM}/peers", {"peer_id": f"spectator-{next(self.ids)}"})
        self.sim.call("POST", "/webhooks/send", {"type": "beam.started.success", "data": {}})


def reconcile(rejoin):
    """As after a time in which no replica could write."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    rejoin.expect(202, "POST", "/v1/reconciliations", {"since": since})


def play(rejoin, sim, seconds):
    """For so many seconds."""
    game, dropped = Game(rejoin, sim), {}
    users = [f"player-{number}" for number in range(PLAYERS)]
    for user in users:
        game.join(user)
        game.play(user)
    game.snapshot_room()
    reconcile(rejoin)
    end = time.monotonic() + seconds
    for second in itertools.count():
        now = time.monotonic()
        if now >= end:
            return
        for user in [user for user, back_at in dropped.items() if back_at <= now]:
            del dropped[user]
            game.resume(user)
            game.come_back(user)
        for user in game.random.sample(sorted(game.peers), 4):
            game.play(user)
        game.snapshot_room()
        victim = game.random.choice(sorted(game.peers))
        game.drop(victim)
        # Later than its ghost, so that the drop is reported.
        dropped[victim] = now + game.random.uniform(2, 8)
        for user in game.random.sample(users, 3):
            game.resume(user)
            game.rejoin.expect(200, "GET", f"/v1/users/{user}/snapshots")
        if second % 3 == 0:
            game.once()
        time.sleep(max(0.0, now + 1 - time.monotonic()))
