"""What a webserver that cannot launch a backfill answers, as its user reads it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sum_assets.defs.backfill import launch_backfill
from sum_assets.errors import UserError


class _Answering(BaseHTTPRequestHandler):
    answer: object

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.answer).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"errors": [{"message": "no such field"}]}, "refused the backfill: .*no such field"),
        ({"data": {"launchPartitionBackfill": {"__typename": "UnauthorizedError"}}}, "backfill: UnauthorizedError"),
        (
            {"data": {"launchPartitionBackfill": {"__typename": "X", "errors": [{"message": "bad config"}]}}},
            "backfill: bad config",
        ),
    ],
)
def test_a_refusal_is_told_in_its_own_words(url: str, answer: object, message: str) -> None:
    _Answering.answer = answer
    with pytest.raises(UserError, match=message):
        launch_backfill(url, ["0000000001-0000000002"], {})
