"""An object store that fails, answers too late, or not at all; and one without what a lock needs."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from pathlib import Path

import pytest
from object_stores import LEASE_S, Proxy

from raynas.errors import ConfigError, StoreError
from raynas.storage.buckets import Bucket
from raynas.storage.files import files_of, names_in, read_bytes, version_of, write_atomically, write_text
from raynas.storage.leases import SECONDS_VARIABLE, Leases, lease_seconds
from raynas.storage.locks import held
from raynas.storage.object_files import object_files
from raynas.storage.paths import ObjectPath, as_path

pytest_plugins = ["object_store_fixtures"]


def put(path: Path, content: bytes, *, once: bool = False) -> Path:
    with write_atomically(path, once=once) as file:
        file.write(content)
    return path


@pytest.mark.parametrize("harm", ["500", "500 after", "lost"])
@pytest.mark.parametrize("once", [False, True], ids=["replaced", "once"])
def test_a_write_whose_answer_is_bad_or_lost_is_done_once_and_well(
    bucket: ObjectPath, proxy: Proxy, harm: str, once: bool
) -> None:
    proxy.harms(harm, times=2)
    path = put(bucket / "file", b"content", once=once)
    assert read_bytes(path) == b"content"
    with pytest.raises(FileExistsError):
        put(path, b"content", once=True)


def test_who_writes_once_after_another_one_is_told_so_though_answers_are_lost(bucket: ObjectPath, proxy: Proxy) -> None:
    put(bucket / "file", b"equal", once=True)
    for harm in ("500 after", "lost", "500"):
        proxy.harms(harm)
        with pytest.raises(FileExistsError):
            put(bucket / "file", b"equal", once=True)


def test_a_store_that_does_not_answer_is_asked_again(
    bucket: ObjectPath, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_files(bucket.bucket), "_bucket", Bucket(bucket.bucket, request_s=1))
    for method, work in (
        ("PUT", lambda: put(bucket / "first", b"1")),
        ("PUT", lambda: put(bucket / "second", b"2", once=True)),
        ("GET", lambda: read_bytes(bucket / "first")),
        ("HEAD", lambda: version_of(bucket / "first")),
    ):
        proxy.harms("hang", method=method)
        work()
    assert names_in(bucket) == ["first", "second"]


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_an_answer_that_is_cut_off_is_not_taken_for_the_whole(bucket: ObjectPath, proxy: Proxy, size: int) -> None:
    content = bytes(range(250)) * (size // 250)
    path = put(bucket / "file", content)
    proxy.harms("half", method="GET", times=2)
    assert read_bytes(path) == content


def test_a_store_that_fails_for_good_is_told_in_one_line(bucket: ObjectPath, proxy: Proxy) -> None:
    proxy.harms("500", times=1000)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"^cannot write s3://.*/file: the store cannot be reached: 500 .*no$") as told:
        write_text(bucket / "file", "text")
    assert "\n" not in str(told.value)
    assert time.monotonic() - started < 60


def test_a_bucket_that_is_not_there_is_named_at_once(bucket: ObjectPath) -> None:
    started = time.monotonic()
    path = ObjectPath("s3://nowhere-at-all/runs/file")
    for work in (lambda: put(path, b""), lambda: put(path, b"", once=True), lambda: names_in(path.parent)):
        with pytest.raises(OSError, match="there is no bucket s3://nowhere-at-all"):
            work()
    with pytest.raises(StoreError, match="cannot be written: there is no bucket s3://nowhere-at-all"):
        held(path.parent)
    assert time.monotonic() - started < 10


def test_who_is_not_let_in_is_told_so_at_once(bucket: ObjectPath, proxy: Proxy) -> None:
    put(bucket / "file", b"")
    proxy.harm = lambda request: "403"
    started = time.monotonic()
    for work in (lambda: put(bucket / "file", b""), lambda: read_bytes(bucket / "file"), lambda: names_in(bucket)):
        with pytest.raises(PermissionError, match="the store refuses it, or the environment has no credentials for it"):
            work()
    assert time.monotonic() - started < 5


def test_secrets_are_not_told(bucket: ObjectPath, proxy: Proxy) -> None:
    proxy.harms("500", times=1000)
    with pytest.raises(OSError) as told:
        put(bucket / "file", b"")
    assert "very-secret" not in f"{told.value!r} {told.value}"


@pytest.mark.parametrize(("header", "what"), [("if-none-match", "If-None-Match"), ("if-match", "If-Match")])
def test_a_store_that_does_not_look_at_conditions_is_refused(
    bucket: ObjectPath, proxy: Proxy, header: str, what: str
) -> None:
    proxy.without = (header,)
    with pytest.raises(StoreError, match=rf"cannot be written: the store .*\({what}\), so nothing can be locked"):
        held(bucket / "run")


# -- leases over a bad network -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["500", "500 after", "lost"])
def test_a_lease_survives_answers_that_are_lost(bucket: ObjectPath, proxy: Proxy, harm: str) -> None:
    files, path = files_of(bucket), bucket / "run" / ".lock"
    bad = iter([harm, harm, None] * 100)
    proxy.harm = lambda request: next(bad) if request.method == "PUT" else None
    with files.lock(path, "one") as lock:
        renewals = [json.loads(read_bytes(path))["renewals"]]
        while renewals[-1] < 2:
            files.check_lock(path)
            time.sleep(0.2)
            renewals.append(json.loads(read_bytes(path))["renewals"])
        assert renewals == sorted(renewals)
        assert files.holder(path) == "one"
    assert lock.epoch == 1


def test_a_renewal_that_was_done_and_never_answered_is_known_as_ones_own(bucket: ObjectPath, proxy: Proxy) -> None:
    with Leases(Bucket(bucket.bucket, outage_s=0)).take("run/.lock", "one") as lease:
        proxy.harms("lost", times=2)
        while json.loads(read_bytes(bucket / "run" / ".lock"))["renewals"] < 3:
            lease.check()
            time.sleep(0.1)
        assert [request.method for request in proxy.requests].count("PUT") >= 6  # three at the start
        lease.check()


@pytest.mark.slow
def test_who_must_be_sure_of_a_lease_waits_for_a_store_that_is_away(bucket: ObjectPath, proxy: Proxy) -> None:
    with Leases(Bucket(bucket.bucket, outage_s=0)).take("run/.lock", "one") as lease:
        proxy.harm = lambda request: "500"
        time.sleep(LEASE_S)
        back = threading.Timer(2, lambda: setattr(proxy, "harm", lambda request: None))
        back.start()
        lease.check()
        back.join()
        assert lease.epoch == json.loads(read_bytes(bucket / "run" / ".lock"))["epoch"] == 1


def test_a_store_that_is_away_for_longer_than_a_lease_costs_nothing_if_nobody_else_came(
    bucket: ObjectPath, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "1")
    files, path = files_of(bucket), bucket / "run" / ".lock"
    with files.lock(path, "one"):
        proxy.harm = lambda request: "500"
        time.sleep(3)
        files.check_lock(path)
        proxy.harm = lambda request: None
        put(bucket / "run" / "file", b"content")
        assert json.loads(read_bytes(path))["epoch"] == 1


# -- paths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hdfs://host/run", "hdfs://host/run is in no store that is known"),
        ("s3://", "s3:// names no place in a store"),
        ("s3://bucket/a//b", "names no place in a store"),
        ("s3://bucket/../other", "names no place in a store"),
        ("s3://bucket/run?versionId=3", "names no place in a store"),
    ],
)
def test_uris_that_lead_nowhere_are_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        as_path(text)


def test_the_scheme_of_no_store_is_known_though_a_path_has_lost_a_slash() -> None:
    with pytest.raises(ConfigError, match="hdfs://host/run is in no store that is known"):
        as_path(Path("hdfs://host/run"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"a package is missing: \w+ .*storage\b"):
        as_path("s3://bucket/run")


@pytest.mark.parametrize("seconds", ["soon", "0.1", "inf", "nan", "-3"])
def test_a_lease_that_lasts_for_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, seconds)
    with pytest.raises(ConfigError, match=f"RAYNAS_LEASE_S is '{seconds}'; it takes 1 to 600 seconds"):
        lease_seconds()


def test_a_path_in_a_store_keeps_its_text_and_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = as_path("s3://bucket/runs/one")
    assert str(path) == f"{path}" == "s3://bucket/runs/one"
    assert as_path(Path("s3://bucket/runs/one")) == as_path("s3://bucket/runs/one/") == path
    assert path / "a" / ".." / "x.pt" != path / "x.pt"
    assert (path / "a" / ".." / "x.pt").resolve() == (path / "x.pt").absolute() == path / "x.pt"
    assert str((path / "../../../../other").resolve()) == "s3://bucket/other"
    assert [str(parent) for parent in path.parents] == ["s3://bucket/runs", "s3://bucket"]
    assert path.parent.parent.parent == path.parent.parent
    assert (path / "a/b").relative_to(path).as_posix() == "a/b"
    assert (path / "a").is_relative_to(path)
    assert path.with_name("two").with_suffix(".x") == path.parent / "two.x"
    Path("s3:").mkdir()
    for touches in (
        path.exists, path.is_dir, path.is_file, path.stat, path.lstat, path.mkdir, path.unlink, path.rmdir, path.touch,
        path.open, path.read_bytes, path.read_text, path.iterdir, path.glob, path.rglob, path.is_mount, path.owner,
        lambda: path.write_text("x"), lambda: path.rename("x"), lambda: Path("s3:").rename(path),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="is in an object store, and no file of this machine"):
            touches()
    with pytest.raises(AssertionError, match="was a URI"):
        files_of(Path(f"{path}"))
    assert list(Path("s3:").iterdir()) == []
