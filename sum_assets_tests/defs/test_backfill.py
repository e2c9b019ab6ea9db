"""Which webserver is asked for a backfill, and what one that cannot launch it answers, as its user reads it."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from psycopg import Connection

from sum_assets.defs import backfill
from sum_assets.defs.backfill import launch_backfill, require_own_webserver
from sum_assets.defs.instance import POOL, open_instance, register_ranges
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange


@contextmanager
def webserver(instance: dg.DagsterInstance) -> Iterator[str]:
    """Serve an instance as `sum-assets ui` does, in this process."""
    with (
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        server = uvicorn.Server(uvicorn.Config(create_app_from_workspace_process_context(context), log_level="warning"))
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


class _Answering(BaseHTTPRequestHandler):
    answer: object
    status = 200

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps(self.answer).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_webserver_of_another_database_is_refused(
    instance: dg.DagsterInstance, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    register_ranges(instance, [IdRange(1, 5)])
    with webserver(instance) as own:
        require_own_webserver(instance, own)
        with open_instance() as beside:
            require_own_webserver(beside, own)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as other, webserver(other) as url:
        code, _, err = run("backfill", "--url", url)
        assert (code, "belongs to another database or another user: nothing was launched" in err) == (1, True), err
        assert other.get_backfills() == []
    code, _, err = run("backfill", "--url", url)
    assert (code, f"No Dagster webserver answers at {url}" in err) == (1, True), err
    assert [pool.name for pool in instance.event_log_storage.get_pool_limits()] == [POOL], "nothing is left behind"


def test_ranges_are_selected_by_their_state(
    instance: dg.DagsterInstance,
    database: Connection,
    run: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, stale, failed, new = (IdRange(i, i + 4) for i in (1, 6, 11, 16))
    register_ranges(instance, [done, stale, failed, new])
    for abstract_id in (1, 6, 11, 16):
        database.execute(
            "INSERT INTO sum_assets.corpus_abstract (abstract_id, abstract) VALUES (%s, 'A text.')", [abstract_id]
        )
    (tmp_path / "run.yaml").write_text("resources: {gpu: {config: {engine: lead}}}")
    (tmp_path / "stop.yaml").write_text(
        "resources: {gpu: {config: {engine: lead}}}\nops: {summaries: {config: {stop_at: '2020-01-01'}}}"
    )
    assert run("materialize", done.key, stale.key, "-c", tmp_path / "run.yaml")[0] == 0
    assert run("materialize", failed.key, "-c", tmp_path / "stop.yaml")[0] == 1
    database.execute("UPDATE sum_assets.corpus_abstract SET abstract = 'New.' WHERE abstract_id = 6")
    launched: list[list[str]] = []
    publishes: list[bool] = []
    monkeypatch.setattr(backfill, "require_own_webserver", lambda *_: None)

    def launch(_: str, keys: list[str], __: object, *, publish: bool) -> None:
        launched.append(keys)
        publishes.append(publish)

    monkeypatch.setattr(backfill, "launch_backfill", launch)
    for options in (["--missing"], ["--failed"], ["--stale"], ["--missing", "--stale"], []):
        assert run("backfill", *options)[0] == 0
    assert publishes == [True] * 5
    assert run("backfill", "--no-publish", done.key)[0] == 0
    assert (launched.pop(), publishes.pop()) == ([done.key], False)
    assert launched == [
        [new.key],
        [failed.key],
        [stale.key],
        [stale.key, new.key],
        [done.key, stale.key, failed.key, new.key],
    ]
    for wrong, message in (
        ("gpu: {config: {batch_size: 0}}", "batch_size is at least 1, not 0"),
        ("gpu: {config: {batchsize: 1}}", 'unexpected config entry "batchsize"'),
        ("gppu: {config: {}}", "unknown key 'gppu' under 'resources'"),
    ):
        (tmp_path / "wrong.yaml").write_text(f"resources: {{{wrong}}}")
        code, _, err = run("backfill", "-c", tmp_path / "wrong.yaml")
        assert (code, message in err, len(launched)) == (1, True, 5), err
    code, _, err = run("backfill", done.key, "--failed")
    assert (code, "No ID range is failed. `sum-assets status` shows what they are" in err) == (1, True), err


@pytest.mark.parametrize("answer", [[1], {"errors": [{"message": "no such field"}]}, {"data": None}])
def test_what_is_no_dagster_is_refused(url: str, answer: object, instance: dg.DagsterInstance) -> None:
    _Answering.answer = answer
    with pytest.raises(UserError, match=r"belongs to another|No Dagster webserver answers"):
        require_own_webserver(instance, url)


@pytest.mark.parametrize(
    ("status", "message"),
    [(500, "it may not have loaded the assets yet: try again"), (404, "No Dagster webserver answers")],
)
def test_a_webserver_that_is_starting_is_told_from_none(
    url: str, status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Answering, "answer", {}, raising=False)
    monkeypatch.setattr(_Answering, "status", status)
    with pytest.raises(UserError, match=message):
        launch_backfill(url, ["0000000001-0000000002"], {})


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
