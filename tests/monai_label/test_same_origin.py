"""Which pages may call the label server; with MONAI Label itself: test_monai_label.py."""

import asyncio

import pytest

from stroke_nets.monai_label.same_origin import REFUSAL, SameOrigin


def answer(headers):
    """What an application behind the check answers to a request."""
    sent = []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"masks"})

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(SameOrigin(app)({"type": "http", "headers": pairs}, None, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8000", "https://127.0.0.1:8000"])
def test_programs_and_own_pages_are_answered(origin):
    headers = {"host": "127.0.0.1:8000"} | ({"origin": origin} if origin else {})
    assert answer(headers) == (200, b"masks")


@pytest.mark.parametrize(
    "origin",
    ["http://other.org", "http://127.0.0.1", "http://127.0.0.1:9000", "null", "127.0.0.1:8000"],
)
def test_pages_of_other_sites_are_refused(origin):
    assert answer({"host": "127.0.0.1:8000", "origin": origin}) == (403, REFUSAL)


def test_what_is_no_request_passes():
    called = []

    async def app(scope, receive, send):
        called.append(scope["type"])

    asyncio.run(SameOrigin(app)({"type": "lifespan"}, None, None))
    assert called == ["lifespan"]
