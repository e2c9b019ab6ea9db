"""What `verify` counts, compared with a plain count of generated states; what publishing leaves behind."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from sum_assets.database.publish import discard, publish, unpublish
from sum_assets.database.source_profile import profile
from sum_assets.database.verify import verify_range
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

RANGE = IdRange(1, 100)
against_database = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Row:
    """One ID: how often the source lists it, and for which version of its text each table has a row."""

    listed: int
    generated: str | None
    rejected: str | None
    published: str | None


versions = st.sampled_from([None, None, "now", "before"])
rows = st.builds(Row, st.integers(0, 2), versions, versions, versions)


def fill(database: Connection, states: list[Row]) -> None:
    database.execute("DROP VIEW sum_assets.source_abstract")
    database.execute("DROP TABLE IF EXISTS public.listing")
    database.execute("CREATE TABLE public.listing (abstract_id bigint, abstract text)")
    database.execute("CREATE VIEW sum_assets.source_abstract AS SELECT * FROM public.listing")
    database.execute(
        "TRUNCATE sum_assets.generated_summary, sum_assets.rejected_abstract, sum_assets.abstract_summary, "
        "sum_assets.summarizer_config, sum_assets.engine_hang, sum_assets.range_run"
    )
    database.execute("INSERT INTO sum_assets.summarizer_config VALUES ('f', '{}')")
    for i, row in enumerate(states, 1):
        for _ in range(row.listed):
            database.execute("INSERT INTO public.listing VALUES (%s, 'now')", [i])
        if row.generated:
            database.execute(
                "INSERT INTO sum_assets.generated_summary VALUES "
                "('f', %s, sum_assets.source_hash(%s), 'short', 1, 1, false, 'stop', 'r')",
                [i, row.generated],
            )
        if row.rejected:
            database.execute(
                "INSERT INTO sum_assets.rejected_abstract VALUES "
                "('f', %s, sum_assets.source_hash(%s), 'null', '', 'r')",
                [i, row.rejected],
            )
        if row.published:
            database.execute(
                "INSERT INTO sum_assets.abstract_summary VALUES (%s, 'short', sum_assets.source_hash(%s), 'f', 'r')",
                [i, row.published],
            )


@against_database
@given(st.lists(rows, max_size=12))
def test_verify_counts_every_state(database: Connection, states: list[Row]) -> None:
    fill(database, states)
    state = verify_range(database, RANGE, "f")
    listed = [row for row in states if row.listed]
    assert state.source == len(listed)
    assert state.summarized == sum(bool(row.generated) for row in listed)
    assert state.rejected == sum(bool(row.rejected) for row in listed)
    assert state.published == sum(bool(row.published) for row in states)
    assert state.missing == sum(not row.generated and not row.rejected for row in listed)
    assert state.stale == sum("before" in (row.generated, row.rejected, row.published) for row in listed)
    assert state.pending == sum("now" not in (row.generated, row.rejected) for row in listed)
    assert state.duplicates == sum(row.listed > 1 or bool(row.generated and row.rejected) for row in states)
    assert state.orphans == sum(bool(row.published) and not row.listed for row in states)
    assert state.differing == sum(row.published != row.generated for row in listed)


@against_database
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([None, "", "a", "B", "b", "é"])), max_size=12))
def test_verify_and_profile_hash_the_same_content(database: Connection, listing: list[tuple[int, str | None]]) -> None:
    fill(database, [])
    for row in listing:
        database.execute("INSERT INTO public.listing VALUES (%s, %s)", row)
    assert verify_range(database, RANGE).content_hash == profile(database, RANGE).content_hash


@against_database
@given(st.lists(rows, max_size=12))
def test_publishing_makes_a_range_sound_or_changes_nothing(database: Connection, states: list[Row]) -> None:
    fill(database, states)
    before = database.execute("SELECT * FROM sum_assets.abstract_summary ORDER BY 1").fetchall()
    publishable = [row for row in states if row.listed]
    fits = all(
        row.listed == 1 and "now" in (row.generated, row.rejected) and not (row.generated and row.rejected)
        for row in publishable
    )
    fits = not publishable or (fits and not any(row.generated and row.rejected for row in states))
    if fits:
        assert publish(database, RANGE, "f").state.sound
        published = [
            row[0] for row in database.execute("SELECT abstract_id FROM sum_assets.abstract_summary ORDER BY 1")
        ]
        assert published == [i for i, row in enumerate(states, 1) if row.listed and row.generated]
        assert publish(database, RANGE, "f").written == 0, "publishing again changes nothing"
    else:
        with pytest.raises(UserError):
            publish(database, RANGE, "f")
        assert database.execute("SELECT * FROM sum_assets.abstract_summary ORDER BY 1").fetchall() == before


def test_unpublish_and_discard_empty_what_they_name(database: Connection) -> None:
    fill(database, [Row(1, "now", None, "now"), Row(1, "now", None, "now"), Row(1, None, "now", None)])
    with pytest.raises(UserError, match=r"2 summaries of fingerprint f are published. Withdraw them first"):
        discard(database, "f")
    with pytest.raises(UserError, match=r"There is no fingerprint 'g'. Known: f"):
        discard(database, "g")
    assert unpublish(database, IdRange(2, 2)) == 1
    assert unpublish(database, None) == 1
    assert discard(database, "f") == (2, 1)
    assert database.execute("SELECT count(*) FROM sum_assets.summarizer_config").fetchall() == [(0,)]


def test_a_range_of_rejections_alone_is_begun_and_complete(database: Connection) -> None:
    fill(database, [Row(1, None, "now", None), Row(1, None, "now", None)])
    state = verify_range(database, RANGE)
    assert (state.fingerprint, state.rejected, state.missing, state.complete) == ("f", 2, 0, True)
