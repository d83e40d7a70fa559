"""Where the log is, by URL; what is told of an object store that refuses."""

from __future__ import annotations

import pathlib
import sys

import duckdb
import pytest

from softlaunch import errors
from softlaunch.adapters.lake import place as places
from softlaunch.config import settings

SECRET = "hunter2"
HOME_LOG = pathlib.Path("/nowhere/log")


@pytest.mark.parametrize(
    ("url", "told", "uri"),
    [
        ("s3://b/p", "s3://b/p/demo/predictions", "s3://b/p/demo/predictions"),
        ("gs://b", "gs://b/demo/predictions", "gs://b/demo/predictions"),
        ("az://account/box/p", "az://account/box/p/demo/predictions", "az://box/p/demo/predictions"),
        (None, "/nowhere/log/demo/predictions", "/nowhere/log/demo/predictions"),
    ],
)
def test_a_table_has_its_place_below_the_url(url, told, uri) -> None:
    place = places.Root(folder=HOME_LOG, url=url).place("demo", "predictions")

    assert (told, uri) == (str(place), place.uri)
    assert HOME_LOG / "demo" == place.folder


def test_the_account_of_azure_is_an_option() -> None:
    place = places.Root(folder=HOME_LOG, url="az://account/box/p").place("demo", "predictions")

    assert "account" == place.storage_options["azure_storage_account_name"]


@pytest.mark.parametrize(
    ("endpoint", "allow", "plain"),
    [
        ("http://127.0.0.1:9000", "", "true"),
        ("http://localhost:9000", "", "true"),
        ("http://[::1]:9000", "", "true"),
        ("http://minio:9000", "", "false"),
        ("http://127.0.0.1.example.org", "", "false"),
        ("http://minio:9000", "true", "true"),
        ("", "", "false"),
    ],
)
def test_plain_http_is_for_this_machine_or_by_word(endpoint, allow, plain, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", allow)

    options = places.Root(folder=HOME_LOG, url="s3://b").place("demo", "predictions").storage_options

    assert (plain, "etag", "false") == (
        options["allow_http"], options["aws_conditional_put"], options["aws_s3_allow_unsafe_rename"],
    )  # fmt: skip


def test_options_hold_no_credentials(monkeypatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.setenv(name, SECRET)
    for url in ("s3://b", "gs://b", "az://a/b"):
        place = places.Root(folder=HOME_LOG, url=url).place("demo", "predictions")
        assert SECRET not in f"{place!r} {place.storage_options}"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("... 404 Not Found <Error><Code>NoSuchBucket</Code>", "no such bucket"),
        ("... 400 <Code>ExpiredToken</Code><Message>hunter2", "expired"),
        ("... 403 Forbidden <Code>SignatureDoesNotMatch</Code> hunter2", "not accepted"),
        ("... 403 Forbidden <Code>AccessDenied</Code>", "access is denied"),
        ("Error performing PUT http://169.254.169.254/latest/api/token", "no credentials"),
        ("HTTP error builder error URL scheme is not allowed", "AWS_ALLOW_HTTP"),
        ("GET https://a.blob.core.windows.net/b?sig=hunter2 error sending request", "cannot be reached"),
        ("GET https://a.blob.core.windows.net/b?sig=hunter2 - 503 Service Unavailable", "503 Service Unavailable"),
        ("Odd thing: https://a.blob.core.windows.net/b?sig=hunter2", "Odd thing"),
        ("https://a.blob.core.windows.net/b?sig=hunter2", "OSError"),
    ],
)
def test_a_refusal_is_told_in_words_that_hold_no_secret(said, told) -> None:
    place = places.Root(folder=HOME_LOG, url="s3://b").place("demo", "predictions")

    found = str(place.unavailable(OSError(said)))

    assert told in found
    assert SECRET not in found
    assert "AWS_ENDPOINT_URL" in found


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///x",
        "http://b/x",
        "s3://u:hunter2@b/x",
        "s3://b/x?sig=hunter2",
        "s3://b/../x",
        "az://account",
        "/x",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secret(url) -> None:
    with pytest.raises(errors.ConfigError, match="SOFTLAUNCH_LOG_URL") as raised:
        settings.read({"SOFTLAUNCH_LOG_URL": url})

    assert SECRET not in str(raised.value)


def test_a_url_may_end_in_a_slash() -> None:
    assert "s3://b/x" == settings.read({"SOFTLAUNCH_LOG_URL": "s3://b/x/"}).log_url


def test_a_table_that_was_there_is_not_begun_anew(tmp_path) -> None:
    place = places.Root(folder=tmp_path, url="s3://b/x").place("demo", "predictions")
    place.begin()
    place.begin()
    place.settle()

    with pytest.raises(errors.UnavailableError, match="was there, and is gone") as raised:
        place.begin()
    assert str(tmp_path / "demo" / "predictions.url") in str(raised.value)
    places.Root(folder=tmp_path, url="s3://other/x").place("demo", "predictions").begin()


def test_what_reads_object_stores_is_asked_for_when_it_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "softlaunch.adapters.lake.remote", None)
    place = places.Root(folder=tmp_path, url="s3://b/x").place("demo", "predictions")

    with duckdb.connect() as connection, pytest.raises(errors.ConfigError, match=r"softlaunch\[objects\]"):
        place.readable(connection, None)
