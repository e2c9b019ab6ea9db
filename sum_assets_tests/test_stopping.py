"""When a run is to stop, and what becomes of the signal that asked for it."""

import signal
import time
from datetime import datetime, timedelta

import pytest

from sum_assets import stopping
from sum_assets.errors import UserError
from sum_assets.stopping import Stop, deadline, stop_between_batches

EVENING = datetime(2030, 5, 1, 22, 30).astimezone()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("07:00", datetime(2030, 5, 2, 7, 0)),
        ("23:15", datetime(2030, 5, 1, 23, 15)),
        ("22:30", datetime(2030, 5, 2, 22, 30)),
        ("2030-05-03T06:00", datetime(2030, 5, 3, 6, 0)),
    ],
)
def test_a_time_of_day_is_the_first_after_the_launch(text: str, moment: datetime) -> None:
    assert deadline(text, EVENING) == moment.astimezone()


@pytest.mark.parametrize("text", ["", "7", "24:00", "tomorrow", "07:60"])
def test_an_invalid_time_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"is not a valid time\. Write 07:00"):
        deadline(text, EVENING)


def test_a_deadline_passes() -> None:
    now = datetime.now().astimezone()
    assert "at its deadline" in str(Stop(now - timedelta(seconds=1))())
    stop = Stop(now + timedelta(seconds=0.2))
    assert stop() is None
    time.sleep(0.25)
    assert stop()


def test_the_first_signal_waits_for_the_batch_and_a_later_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_SAME_REQUEST_SECONDS", 0.3)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with stop_between_batches(None) as stop:
            assert stop() is None
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert (stop(), received) == ("by SIGTERM", []), "both are one request"
            time.sleep(0.35)
            signal.raise_signal(signal.SIGTERM)
            assert received == [signal.SIGTERM]
        assert received == [signal.SIGTERM] * 2, "it is passed on"
        with pytest.raises(UserError), stop_between_batches(None):
            _be_stopped()
        assert len(received) == 2, "the error says it"
        signal.raise_signal(signal.SIGTERM)
        assert len(received) == 3
    finally:
        signal.signal(signal.SIGTERM, before)


def _be_stopped() -> None:
    signal.raise_signal(signal.SIGTERM)
    raise UserError("stopped by SIGTERM")
