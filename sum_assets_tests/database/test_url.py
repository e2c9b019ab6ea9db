"""A URL in all forms of libpq is read once, and what cannot be read is not repeated."""

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import conninfo
from sqlalchemy import make_url

from sum_assets.database.connection import connect
from sum_assets.database.url import address, read_url
from sum_assets.defs.storage import sqlalchemy_url
from sum_assets.errors import UserError

SECRET = "s3cr"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40%2Fw@db:6543/lab", "db:6543/lab"),
        ("postgresql://u@h1:1,h2:2/lab?target_session_attrs=read-write", "h1:1,h2:2/lab"),
        ("postgresql://u@h1,h2/lab", "h1:5432,h2:5432/lab"),
        ("postgres://u@[::1]:5433/lab", "::1:5433/lab"),
        ("host=a,b port=7 dbname=lab user=u password='it\\'s'", "a:7,b:7/lab"),
        ("service=lab", "service lab"),
        ("postgresql:///lab?host=/run/pg", "/run/pg:5432/lab"),
        ("postgresql://", "localhost:5432/"),
        ("postgresql://u:p#?:w@h/l%40b?application_name=a@b", "h:5432/l@b"),
    ],
)
def test_every_form_of_libpq_is_read(url: str, shown: str) -> None:
    assert address(read_url(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:a/{SECRET}@h/x",
        f"postgresql://u:12/{SECRET}@h/x",
        f"postgresql://u:{SECRET}/a@h/x",
        f"postgresql://u:a@{SECRET}@h:5432/x",
        f"postgresql://u:a@{SECRET}/b@h:5432/x",
        f"postgresql://u:%{SECRET}@h/x",
        f"postgresql://u:a/{SECRET}?a=b@h/x",
        f"postgresql://u:a@h:{SECRET}/x",
        f"mysql://u:{SECRET}@h/x",
        f"postgres//u:{SECRET}@h/x",
        f"postgresql+psycopg2://u:{SECRET}@h/x",
        f"host=h password=a {SECRET}",
        f"host=h password='{SECRET}",
        f"postgresql://u:{SECRET}@h/x?pasword={SECRET}",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match=r"is not a valid PostgreSQL URL.*write @ as %40") as caught:
        connect(url)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert SECRET not in str(caught.value)


@given(st.text(st.sampled_from(string.ascii_letters + "@/:?#%&=+ '\"\\é"), min_size=1, max_size=12))
def test_a_password_arrives_unchanged_in_dagsters_storage(password: str) -> None:
    for url in (
        f"postgresql://u:{quote(password, safe='')}@h1:1,h2:2/lab",
        conninfo.make_conninfo("", user="u", password=password, host="h1,h2", port="1,2", dbname="lab"),
    ):
        parameters = read_url(url)
        assert parameters["password"] == password
        engine_url = make_url(sqlalchemy_url(url))
        assert engine_url.password == password
        dsn = engine_url.query["dsn"]
        assert isinstance(dsn, str)
        rest = {name: value for name, value in parameters.items() if name not in ("user", "password")}
        assert conninfo.conninfo_to_dict(dsn) == rest
