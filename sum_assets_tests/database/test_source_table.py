"""What `init --source` takes, refuses and records, and what it says after the table was swapped, dropped or renamed."""

import shlex
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from psycopg import Connection

from sum_assets.benchmark.corpus_lengths import read_corpus
from sum_assets.database.coverage import unusable_ids
from sum_assets.database.ranges import new_ranges, scans_sequentially
from sum_assets.database.relations import find_relation
from sum_assets.database.source_table import index_advice, point_source, recorded_source, require_source, source_moved
from sum_assets.errors import UserError
from sum_assets.id_range import IdRange

Run = Callable[..., tuple[int, str, str]]


def make(database: Connection, *statements: str) -> None:
    for statement in statements:
        database.execute(statement.encode())


def source(database: Connection) -> list[tuple[int | None, str]]:
    return database.execute("SELECT * FROM sum_assets.source_abstract ORDER BY 1").fetchall()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bytea", "convert_to('A text.', 'UTF8')"),
        ("json", "'\"A text.\"'"),
        ("jsonb", "'\"A text.\"'"),
        ("text[]", "ARRAY['A', 'text.']"),
        ("varchar(9)[]", "ARRAY['A', 'text.']"),
    ],
)
def test_an_abstract_of_another_type_is_refused_and_decoded_as_the_message_says(
    database: Connection, kind: str, value: str
) -> None:
    make(database, f"CREATE TABLE mine (id int, abstract {kind})", f"INSERT INTO mine VALUES (1, {value})")
    with pytest.raises(UserError, match="and an abstract is text") as caught:
        point_source(database, "mine", "id", "abstract")
    assert source(database) == []
    _, *statements, last = str(caught.value).splitlines()
    make(database, *statements)
    assert "sum-assets init --source sum_assets.source_abstract" in last
    point_source(database, "sum_assets.source_abstract", "abstract_id", "abstract")
    assert [(i, " ".join(text.split())) for i, text in source(database)] == [(1, "A text.")]
    require_source(database)


def test_xml_is_refused_with_the_expression_for_its_text(database: Connection) -> None:
    make(database, "CREATE TABLE mine (id int, abstract xml)")  # a server built without libxml stores none
    with pytest.raises(UserError, match=r"array_to_string\(xpath\('//text\(\)', \"abstract\"\), ' '\) AS abstract"):
        point_source(database, "mine", "id", "abstract")


@pytest.mark.parametrize("kind", ["integer", "date", "boolean", "point"])
def test_what_is_no_text_at_all_is_refused(database: Connection, kind: str) -> None:
    make(database, f"CREATE TABLE mine (id int, abstract {kind})")
    with pytest.raises(UserError, match=f"The column abstract is {kind}, and an abstract is text. Name another"):
        point_source(database, "mine", "id", "abstract")


def test_texts_and_integers_of_all_kinds_and_their_domains_are_taken(database: Connection) -> None:
    make(
        database,
        "CREATE DOMAIN pmid AS bigint",
        "CREATE DOMAIN small_pmid AS pmid CHECK (VALUE < 99)",
        "CREATE DOMAIN prose AS varchar",
    )
    for id_kind, text_kind in (
        ("smallint", "text"), ("pmid", "prose"), ("small_pmid", "varchar(99)"), ("char(9)", "name"), ("prose", "text"),
    ):  # fmt: skip
        make(
            database,
            "DROP TABLE IF EXISTS mine CASCADE",
            f"CREATE TABLE mine (id {id_kind} PRIMARY KEY, abstract {text_kind})",
            "INSERT INTO mine VALUES ('7', 'A text.')",
        )
        point_source(database, "mine", "id", "abstract")
        assert source(database) == [(7, "A text.")]


def test_names_are_read_as_sql_does_or_as_they_are_spelled(database: Connection) -> None:
    make(
        database,
        'CREATE SCHEMA "Lab Data"',
        'CREATE TABLE "Lab Data"."order" (id int, abstract text)',
        'CREATE TABLE public."Article" ("PMID" int, abstract text)',
        'CREATE TABLE public."a.b ""c""" (id int, abstract text)',
        "CREATE TABLE public.plain (id int, abstract text)",
    )
    name = database.info.dbname
    for typed, found in (
        ("Lab Data.order", '"Lab Data".order'),
        ('"Lab Data"."order"', '"Lab Data".order'),
        ("public.Article", 'public."Article"'),
        ("Article", 'public."Article"'),
        ('"Article"', 'public."Article"'),
        ('public."a.b ""c"""', 'public."a.b ""c"""'),
        (" PUBLIC . Plain ", "public.plain"),
        (f"{name}.public.plain", "public.plain"),
        (f'"{name}".public."plain"', "public.plain"),
    ):
        assert str(find_relation(database, typed)) == found
    point_source(database, "public.Article", "PMID", '"abstract"')
    point_source(database, "plain", "ID", "Abstract")
    make(database, "CREATE TABLE public.article (id int, abstract text)", "CREATE SEQUENCE counter")
    for typed, message in (
        ("public.Article", r'There are public."Article" and public.article. Put quotes'),
        ("otherdb.public.t", "is in the database otherdb, and this one is"),
        ("a.b.c.d", "The name a.b.c.d has 4 parts. Name the table as schema.table"),
        ("", "'' is not the name of a table"),
        ("public.", "'public.' is not the name of a table"),
        ("public..t", "is not the name of a table"),
        ('"open', "is not the name of a table"),
        ("public.plian", "There is no table public.plian here. Name it as schema.table. Did you mean public.plain?"),
        ("lab.ORDER", 'Did you mean "Lab Data"."?order'),
        ("x'; DROP TABLE plain; --", "There is no table"),
        ("counter", "public.counter is a sequence, not a table or view"),
    ):
        with pytest.raises(UserError, match=message):
            find_relation(database, typed)


def test_a_table_that_the_role_may_not_read_is_named(database: Connection) -> None:
    make(database, "CREATE TABLE hidden (id int, abstract text)", "DROP ROLE IF EXISTS nobody", "CREATE ROLE nobody")
    try:
        make(database, "GRANT USAGE ON SCHEMA sum_assets TO nobody", "SET ROLE nobody")
        with pytest.raises(UserError, match=r"may not read public.hidden. As its owner: GRANT SELECT ON public.hidden"):
            point_source(database, "public.hidden", "id", "abstract")
    finally:
        make(database, "RESET ROLE", "DROP OWNED BY nobody", "DROP ROLE nobody")


def test_rights_on_the_view_stay(database: Connection) -> None:
    make(database, "CREATE TABLE mine (id int, abstract text)", "DROP ROLE IF EXISTS peer", "CREATE ROLE peer")
    try:
        make(
            database,
            "GRANT SELECT ON sum_assets.source_abstract TO PUBLIC",
            "GRANT SELECT, INSERT ON sum_assets.source_abstract TO peer WITH GRANT OPTION",
        )
        acl = "SELECT relacl::text FROM pg_class WHERE oid = 'sum_assets.source_abstract'::regclass"
        before = database.execute(acl.encode()).fetchone()
        point_source(database, "mine", "id", "abstract")
        assert database.execute(acl.encode()).fetchone() == before
    finally:
        make(database, "DROP OWNED BY peer", "DROP ROLE peer")


def test_index_advice_suits_what_is_read(database: Connection) -> None:
    make(
        database,
        "CREATE TABLE bare (id int, pmcid text, abstract text)",
        "CREATE VIEW seen AS SELECT 'PMC' || id AS pmcid, abstract FROM bare",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM seen",
        "CREATE TABLE parted (id int, abstract text) PARTITION BY RANGE (id)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (99)",
    )
    for name, column in (("bare", "id"), ("bare", "pmcid"), ("kept", "pmcid"), ("parted", "id")):
        point_source(database, name, column, "abstract")
        assert scans_sequentially(database, IdRange(1, 5))
        make(database, index_advice(database))
        assert not scans_sequentially(database, IdRange(1, 5)), name
    point_source(database, "seen", "pmcid", "abstract")
    assert "CREATE" not in index_advice(database)
    assert "public.seen is a view, which has no index" in index_advice(database)


def test_ids_that_no_range_can_hold_are_named(run: Run, instance: dg.DagsterInstance, database: Connection) -> None:
    make(
        database,
        "CREATE TABLE snow (id bigint PRIMARY KEY, abstract text)",
        "INSERT INTO snow SELECT 1700000000000000000 + g, 'Snow ' || g FROM generate_series(1, 5) AS g",
    )
    code, _, err = run("init", "--source", "public.snow", "--id-column", "id")
    assert (code, "5 rows of the source have an ID that no ID range can hold" in err) == (0, True), err
    code, _, err = run("ranges", "--rows", "3")
    assert (code, "have more than 10 digits" in err, "no abstracts" in err) == (1, True, False), err
    make(database, "INSERT INTO snow VALUES (-1, 'x'), (0, 'y'), (9999999999, 'z')")
    assert unusable_ids(database) == 6
    code, _, err = run("ranges", "--rows", "3")
    assert (code, "Warning: 6 rows of the source" in err) == (0, True)
    for command in ("verify", "status"):
        code, _, err = run(command)
        assert (code, "6 rows of the source have an ID that no ID range can hold" in err) == (1, True)
    fix = shlex.split(err.partition("leave these rows out: `")[2].partition("`")[0])
    assert run(*fix[1:])[0] == 0
    assert [i for i, _ in source(database)] == [0, 9999999999]
    assert run("verify")[0] == 0
    make(database, "DELETE FROM snow WHERE id BETWEEN 0 AND 9999999999")
    code, _, err = run("ranges", "--rows", "3")
    assert (code, "All rows of public.snow (6) are left out, since no ID range can hold their IDs" in err) == (
        1,
        True,
    ), err
    assert ("more than 10 digits" in err, "Give the abstracts smaller numbers" in err) == (True, True)
    with pytest.raises(UserError, match=r"All rows of public\.snow \(6\) are left out"):
        read_corpus(database, 0)
    make(database, "TRUNCATE snow")
    with pytest.raises(UserError, match="The source has no abstracts"):
        new_ranges(database, [], 3)


def test_an_id_that_is_there_twice_is_named_before_anything_runs(
    run: Run, instance: dg.DagsterInstance, database: Connection
) -> None:
    make(database, "CREATE TABLE twin (id text, abstract text)")
    make(database, "INSERT INTO twin SELECT 'PMC' || g, 'Twin ' || g FROM unnest(array[3, 4, 5, 4, 5, 4]) AS g")
    code, _, err = run("init", "--source", "public.twin", "--id-column", "id")
    assert (code, "2 IDs are listed more than once, the first 4. A range with such" in " ".join(err.split())) == (
        0,
        True,
    )
    make(database, "DELETE FROM twin WHERE id <> 'PMC3'")
    code, _, err = run("init", "--source", "public.twin", "--id-column", "id")
    assert (code, "more than once" in err) == (0, False)


@pytest.fixture
def article(run: Run, instance: dg.DagsterInstance, database: Connection) -> Connection:
    make(
        database,
        "CREATE TABLE article (id bigint PRIMARY KEY, abstract text)",
        "INSERT INTO article SELECT g, 'OLD ' || g || '.' FROM generate_series(1, 6) AS g",
    )
    assert run("init", "--source", "public.article", "--id-column", "id")[0] == 0
    assert run("ranges", "--rows", "3")[0] == 0
    assert run("status")[0] == 0
    return database


def lead(tmp_path: object) -> str:
    path = f"{tmp_path}/lead.yaml"
    with open(path, "w") as file:
        file.write("resources: {gpu: {config: {engine: lead}}}")
    return path


SWAP = (
    "CREATE TABLE article_new (id bigint primary key, abstract text)",
    "INSERT INTO article_new SELECT g, 'NEW ' || g || '.' FROM generate_series(1, 6) g",
    "ALTER TABLE article RENAME TO article_old",
    "ALTER TABLE article_new RENAME TO article",
)


def test_a_table_that_was_swapped_is_noticed_by_all(run: Run, article: Connection, tmp_path: object) -> None:
    first, last = run("ranges")[1].split()
    assert run("materialize", first, last, "-c", lead(tmp_path))[0] == 0
    assert run("verify")[0] == 0
    make(article, *SWAP)
    again = "`sum-assets init --source public.article --id-column id --abstract-column abstract`"
    for command in (
        ("init",), ("status",), ("verify",), ("verify", "--range", first), ("ranges", "--rows", "3"),
        ("materialize", first, "-c", lead(tmp_path)),
    ):  # fmt: skip
        code, _, err = run(*command)
        assert code == 1, command
        assert "sum_assets.source_abstract reads public.article_old, but public.article when it was recorded" in err
        assert again in err
    assert run(*shlex.split(again.strip("`"))[1:])[0] == 0
    code, _, err = run("verify")
    assert (code, "2 published ranges are not whole" in err) == (1, True)
    assert f"`sum-assets materialize {first} {last} -c run.yaml`" in err
    assert run("materialize", first, last, "-c", lead(tmp_path))[0] == 0
    assert run("verify")[0] == 0
    assert article.execute("SELECT summary FROM sum_assets.abstract_summary ORDER BY 1").fetchone() == ("NEW 1.",)


def test_a_table_that_was_dropped_is_named_with_the_command(run: Run, article: Connection) -> None:
    make(article, *SWAP, "DROP TABLE article_old CASCADE")
    key = run("ranges")[1].split()[0]
    for command in (("init",), ("status",), ("verify",), ("ranges", "--rows", "3"), ("materialize", key)):
        code, _, err = run(*command)
        assert code == 1
        assert "The view sum_assets.source_abstract is gone: it was dropped with a table that it read" in err
        assert "Traceback" not in err.rpartition("Error:")[2]
    again = shlex.split(err.rpartition("`sum-assets init")[2].partition("`")[0])
    assert run("init", *again)[0] == 0
    assert run("verify")[0] == 0


def test_a_renamed_table_and_a_view_by_hand_are_recorded_as_they_are(run: Run, article: Connection) -> None:
    keep = ("init", "--source", "sum_assets.source_abstract")
    changes = (
        "ALTER TABLE article RENAME TO paper",
        "CREATE SCHEMA archive; ALTER TABLE paper SET SCHEMA archive",
        "CREATE TABLE other AS TABLE archive.paper; "
        "CREATE OR REPLACE VIEW sum_assets.source_abstract AS SELECT id AS abstract_id, abstract FROM other",
    )
    for change in changes:
        make(article, change)
        code, _, err = run("verify")
        assert (code, "`sum-assets init --source sum_assets.source_abstract`" in err) == (1, True), err
        assert run(*keep)[0] == 0
        assert run("verify")[0] == run("init")[0] == 0
    make(article, "DROP VIEW sum_assets.source_abstract")
    make(article, "CREATE VIEW sum_assets.source_abstract AS SELECT id::text AS abstract_id, abstract FROM other")
    for command in (keep, ("verify",)):
        code, _, err = run(*command)
        assert (code, "It has: abstract text, abstract_id text" in err) == (1, True), err


def test_what_a_view_reads_is_followed_through_views(database: Connection) -> None:
    make(
        database,
        "CREATE TABLE base (id int, abstract text)",
        "CREATE VIEW inner_view AS SELECT * FROM base",
        "CREATE VIEW outer_view AS SELECT * FROM inner_view",
    )
    point_source(database, "outer_view", "id", "abstract")
    record = recorded_source(database)
    assert record is not None
    assert record.reads == ["public.base", "public.inner_view", "public.outer_view"]
    assert source_moved(database) is None
    make(database, "ALTER TABLE base RENAME TO base_old")
    make(database, "CREATE TABLE base (id int, abstract text)")
    moved = source_moved(database) or ""
    assert "public.base_old" in moved
    assert "public.outer_view is a view, which still reads the renamed table. To read another, create it" in moved
    make(database, "CREATE OR REPLACE VIEW inner_view AS SELECT * FROM base")
    assert source_moved(database) is None


def test_a_row_that_the_view_cannot_read_is_named(
    run: Run, database: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    make(
        database,
        "CREATE TABLE mine (id int PRIMARY KEY, raw bytea)",
        "INSERT INTO mine SELECT i, convert_to('Text ' || i || '.', 'UTF8') FROM generate_series(3, 900, 7) AS i",
        r"UPDATE mine SET raw = '\xff' WHERE id IN (577, 703)",
        "DROP VIEW sum_assets.source_abstract",
        "CREATE VIEW sum_assets.source_abstract AS "
        "SELECT id AS abstract_id, convert_from(raw, 'UTF8') AS abstract FROM mine",
    )
    assert run("init", "--source", "sum_assets.source_abstract")[0] == 0
    assert run("ranges", "--rows", "1000")[0] == 0
    key = run("ranges")[1].strip()
    for select in ("abstracts", "summaries"):
        code, _, err = run("materialize", key, "-c", lead(tmp_path), "--select", select)
        assert code == 1
        assert err.splitlines()[-1].startswith("Error: The source cannot read the abstract with ID 577: invalid byte")
        assert "Stack Trace" not in err


def test_another_source_leaves_nothing_unseen(
    run: Run, article: Connection, instance: dg.DagsterInstance, tmp_path: object
) -> None:
    first, last = run("ranges")[1].split()
    assert run("materialize", first, last, "-c", lead(tmp_path))[0] == 0
    make(
        article, "CREATE TABLE b (id int PRIMARY KEY, abstract text)", "INSERT INTO b VALUES (12, 'Twelve.'), (13, '.')"
    )
    code, _, err = run("init", "--source", "public.b", "--id-column", "id")
    assert (code, "It read public.article before, and there are results of that" in err) == (0, True)
    assert run("ranges", "--rows", "10", "--reset", "--yes")[0] == 0
    key = run("ranges")[1].strip()
    assert run("materialize", key, "-c", lead(tmp_path))[0] == 0
    for command in ("verify", "status"):
        code, _, err = run(command)
        assert code == 1
        assert "6 published summaries are in no ID range, the first has ID 1" in err
        assert "`sum-assets unpublish --outside-ranges`" in err
    make(article, "INSERT INTO sum_assets.abstract_summary SELECT -5, summary, source_hash, fingerprint, run_id "
                  "FROM sum_assets.abstract_summary WHERE abstract_id = 1")  # fmt: skip
    assert run("unpublish", "--outside-ranges", "--yes") == (0, "7 summaries withdrawn\n", "")
    assert run("verify")[0] == run("status")[0] == 0
