"""Pictures through clouds that run on hosts of their own: what a user of theirs sees, from a kit."""

from __future__ import annotations

import time
from typing import Any

from together.bench.networks import some_pictures
from together.bench.picture import Say, spread
from together.bench.session import Query
from twinveil.estimate.query import AHEAD
from twinveil.start.settings import UserSettings
from twinveil.transport.channel import connect
from user.client import Client
from user.contact import Contact

READY_SECONDS = 120.0
"""Longest wait for an item before a picture is asked without one."""
POLL_SECONDS = 1.0


def measure_hosts(settings: UserSettings, model: str, repeats: int, say: Say) -> dict[str, Any]:
    """Arbitrary pictures of the model's shape, one a query, an item ready where S1 keeps any.

    online_s: from the call to the answer. ready: of how many pictures an item lay ready.
    """
    contact = Contact.of(settings)
    made: list[Query] = []
    ready = 0
    with Client(contact) as client:
        plan = client.model(model).plan
        for number, picture in enumerate(some_pictures(plan, 1 + repeats)):
            ready += wait_ready(contact) if number else 0
            start = time.perf_counter()
            [answer] = client.classify([picture], model)
            made.append(Query(1, time.perf_counter() - start, {}, answer.figures))
            say(f"picture {number + 1} of {1 + repeats}: {1e3 * made[-1].seconds:.0f} ms")
    names = [name for name in made[-1].figures["cloud_s1"] if name not in AHEAD]
    messages = int(made[-1].sum("messages", functions=names))
    return {
        "online_s": spread([each.seconds for each in made[1:]]),
        "online_messages": messages,
        "round_trips": messages // 2,
        "online_bytes": int(made[-1].sum("bytes", functions=names)),
        "ready": ready,
        "waiting_s": spread([each.sum("waiting_seconds", functions=names) for each in made[1:]]),
        "item_bytes": int(made[-1].sum("bytes", functions=AHEAD)),
    }


def wait_ready(contact: Contact) -> bool:
    """Whether an item lies ready at S1, of whatever model, before the time is over."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        with connect(contact.me, "cloud_s1", contact.cloud_s1, contact.wait) as link:
            if link.status.ready_items:
                return True
        time.sleep(POLL_SECONDS)
    return False
