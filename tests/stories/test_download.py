"""A release is fetched once, to the byte, whatever the server, the network and the disk do."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Generator

import pytest
from etils import epath

from tests.conftest import ROOT, make_stories
from tests.http_server import Fault, FileServer, serving
from tinyjax import textio
from tinyjax.errors import UserError
from tinyjax.stories import download
from tinyjax.stories.download import fetch
from tinyjax.stories.releases import File, Release

TRAIN, VALID, ARCHIVE = "Small-train.txt", "Small-valid.txt", "Small_all_data.tar.gz"


def text(count: int, seed: int) -> bytes:
    """Stories in the published layout."""
    return "\n<|endoftext|>\n".join(make_stories(count, seed)).encode()


def shard(texts: list[str]) -> bytes:
    """A JSON file of the archive, with the published keys."""
    instruction = {"prompt:": "Write a story.", "words": ["hang", "foot", "cute"], "features": ["Dialogue"]}
    row = {"instruction": instruction, "summary": "A story.", "source": "GPT-4"}
    return json.dumps([{"story": f"\n\n{text}"} | row for text in texts]).encode()


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


FILES = {TRAIN: text(2000, 0), VALID: text(20, 1)}
SHARDS = {f"data0{i}.json": shard(make_stories(5, i)) for i in range(3)}
FILES[ARCHIVE] = archive(SHARDS | {"._data00.json": b"\0", "README.md": b"hello"})


def entry(name: str, data: bytes) -> File:
    return File(name, len(data), hashlib.sha256(data).hexdigest())


def release(*names: str, url: str = "http://127.0.0.1:9/") -> Release:
    files = [entry(name, FILES[name]) for name in names]
    train, validation = files if len(files) == 2 else (files[0], None)
    return Release("small", "1.0.0", url, train, validation, "none", "A small release.")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download, "_WAITS", (0, 0.01))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Generator[FileServer]:
    with serving() as server:
        server.files.update(FILES)
        yield server


@pytest.fixture
def offline(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a socket was opened")

    for name in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def error(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        fetch(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def content(found: dict[str, epath.Path]) -> dict[str, bytes]:
    return {split: path.read_bytes() for split, path in found.items()}


def ranges(server: FileServer) -> list[str]:
    return [request.headers.get("Range", "") for request in server.requests]


CHILD = """
import sys
from tinyjax.stories.download import fetch
from tinyjax.stories.releases import File, Release
fetch(eval(sys.argv[1]), sys.argv[2])
"""


@contextlib.contextmanager
def fetching(wanted: Release, folder: pathlib.Path) -> Generator[subprocess.Popen]:
    """Fetches in another process."""
    command = [sys.executable, "-c", CHILD, repr(wanted), str(folder)]
    with subprocess.Popen(command, cwd=ROOT) as child:
        yield child


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


class TestFetching:
    def test_the_files_come_by_split_and_progress_is_told(self, server, tmp_path):
        told = []
        found = fetch(release(TRAIN, VALID, url=server.url), tmp_path, progress=lambda *a: told.append(a))
        assert content(found) == {"train": FILES[TRAIN], "validation": FILES[VALID]}
        assert [path.parent for path in found.values()] == [tmp_path, tmp_path]
        size = len(FILES[TRAIN])
        assert {(f"fetching {TRAIN}", size, size), (f"checking {TRAIN}", size, size)} <= set(told)
        assert all(0 < done <= total for _, done, total in told)
        records = [f".{TRAIN}.json", f".{VALID}.json"]
        assert sorted(path.name for path in tmp_path.iterdir()) == [*records, TRAIN, VALID]

    def test_what_is_there_is_neither_fetched_nor_read_again(self, server, tmp_path, request):
        small = release(TRAIN, VALID, url=server.url)
        fetch(small, tmp_path)
        count, told = len(server.requests), []
        request.getfixturevalue("offline")
        found = fetch(small, tmp_path, progress=lambda *a: told.append(a))
        assert content(found) == {"train": FILES[TRAIN], "validation": FILES[VALID]}
        assert len(server.requests) == count == 2
        assert not told

    def test_only_what_is_missing_is_fetched(self, server, tmp_path):
        small = release(TRAIN, VALID, url=server.url)
        (tmp_path / TRAIN).write_bytes(FILES[TRAIN])
        fetch(small, tmp_path)
        assert [request.path for request in server.requests] == [f"/{VALID}"]

    def test_a_touched_file_is_checked_again(self, offline, tmp_path):
        path = tmp_path / VALID
        path.write_bytes(FILES[VALID])
        fetch(release(VALID), tmp_path)
        os.utime(path, (1, 1))
        told = []
        fetch(release(VALID), tmp_path, progress=lambda *a: told.append(a))
        assert {stage for stage, _, _ in told} == {f"checking {VALID}"}

    def test_a_damaged_file_is_told_and_left_alone(self, offline, tmp_path):
        fetched = release(VALID)
        path = tmp_path / VALID
        path.write_bytes(FILES[VALID])
        fetch(fetched, tmp_path)
        path.write_bytes(FILES[VALID][:-1] + b"!")
        message = error(fetched, tmp_path)
        assert f"expected SHA-256 {fetched.train.sha256}, got " in message
        assert "move it away" in message
        assert path.read_bytes().endswith(b"!")

    def test_an_unreadable_record_costs_a_check_and_no_more(self, offline, tmp_path):
        (tmp_path / VALID).write_bytes(FILES[VALID])
        (tmp_path / f".{VALID}.json").write_text('{"na')
        fetch(release(VALID), tmp_path)
        assert json.loads((tmp_path / f".{VALID}.json").read_text())["bytes"] == len(FILES[VALID])

    def test_the_record_names_what_was_verified(self, server, tmp_path):
        small = release(VALID, url=server.url.replace("http://", "http://user:secret@"))
        fetch(small, tmp_path)
        record = json.loads((tmp_path / f".{VALID}.json").read_text())
        assert record["name"] == VALID
        assert record["bytes"] == len(FILES[VALID])
        assert record["sha256"] == small.train.sha256
        assert record["url"] == f"{server.url}/{VALID}"

    def test_a_mirror_takes_the_place_of_the_release(self, server, tmp_path):
        fetch(release(VALID), tmp_path, mirror=f"{server.url}/copies/")
        assert [request.path for request in server.requests] == [f"/copies/{VALID}"]

    def test_redirects_are_followed_as_the_hub_makes_them(self, server, tmp_path):
        target = f"{server.url}/store/{TRAIN}?signature=secret"
        redirect = Fault(status=302, headers={"Location": target})
        server.faults.extend([redirect, Fault(drop_after=1000), redirect])
        fetch(release(TRAIN, url=server.url), tmp_path)
        assert ranges(server) == ["", "", "bytes=1000-", "bytes=1000-"]

    def test_a_proxy_is_used(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url)
        fetch(release(VALID, url="http://stories.invalid/a"), tmp_path)
        assert [request.path for request in server.requests] == [f"http://stories.invalid/a/{VALID}"]

    def test_a_file_declared_to_be_encoded_is_kept_as_it_is(self, server, tmp_path):
        server.faults.append(Fault(headers={"Content-Encoding": "gzip"}))
        found = fetch(release(ARCHIVE, url=server.url), tmp_path)
        assert sorted(p.name for p in found["train"].glob("*.json")) == sorted(SHARDS)

    def test_a_second_process_waits_for_the_first(self, server, tmp_path):
        server.faults.append(Fault(pause=0.03))
        small, told = release(TRAIN, url=server.url), []
        with fetching(small, tmp_path) as first:
            wait_until(lambda: bool(server.requests))
            fetch(small, tmp_path, progress=lambda *a: told.append(a))
            assert first.wait() == 0
        assert [stage for stage, _, _ in told] == [
            f"waiting for another process that fetches to '{tmp_path}'"
        ]
        assert len(server.requests) == 1


class TestGoingOn:
    """An interrupted download goes on from where it stopped, if it can."""

    def test_after_the_connection_was_cut_only_the_rest_is_asked_for(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=100_000), Fault(drop_after=70_000)])
        told = []
        found = fetch(release(TRAIN, url=server.url), tmp_path, progress=lambda *a: told.append(a))
        assert content(found) == {"train": FILES[TRAIN]}
        assert ranges(server) == ["", "bytes=100000-", "bytes=170000-"]
        assert sum(request.sent for request in server.requests) == len(FILES[TRAIN])
        assert sum("trying again in 0 s" in stage for stage, _, _ in told) == 2

    def test_a_server_that_brings_something_each_time_may_cut_as_often_as_it_likes(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=10_000)] * 10)
        fetch(release(TRAIN, url=server.url), tmp_path)
        assert len(server.requests) == 11

    def test_a_server_that_brings_nothing_new_is_given_up(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=100_000), *[Fault(drop_after=0)] * 9])
        message = error(release(TRAIN, url=server.url), tmp_path)
        assert f"goes on from 100,000 of {len(FILES[TRAIN]):,} bytes" in message
        assert "--mirror=URL" in message
        assert "--source_dir=DIR" in message
        assert len(server.requests) == 1 + len(download._WAITS)
        assert (tmp_path / f"{TRAIN}.part").stat().st_size == 100_000

    def test_a_server_that_ignores_ranges_sends_all_of_it_again(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=100_000), Fault(ignore_range=True)])
        assert content(fetch(release(TRAIN, url=server.url), tmp_path)) == {"train": FILES[TRAIN]}
        assert [request.status for request in server.requests] == [200, 200]

    def test_one_that_ignores_ranges_and_cuts_is_given_up(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=100_000, ignore_range=True)] * 9)
        assert "can't be fetched" in error(release(TRAIN, url=server.url), tmp_path)

    def test_a_range_that_begins_elsewhere_is_not_taken(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=100_000), Fault(shift=1)])
        assert content(fetch(release(TRAIN, url=server.url), tmp_path)) == {"train": FILES[TRAIN]}
        assert ranges(server) == ["", "bytes=100000-", ""]

    def test_a_file_that_changed_on_the_server_starts_anew(self, server, tmp_path):
        server.files[TRAIN] = bytes(len(FILES[TRAIN]))
        server.faults.extend([Fault(drop_after=100_000), *[Fault(status=503)] * 9])
        small = release(TRAIN, url=server.url)
        error(small, tmp_path)
        server.faults.clear()
        server.files[TRAIN] = FILES[TRAIN]
        assert content(fetch(small, tmp_path)) == {"train": FILES[TRAIN]}
        assert server.requests[-1].headers["If-Range"]
        assert [request.status for request in server.requests][-1] == 200

    def test_even_where_the_server_overlooks_the_condition(self, server, tmp_path):
        server.faults.extend([Fault(drop_after=100_000), Fault(headers={"ETag": '"other"'})])
        fetch(release(TRAIN, url=server.url), tmp_path)
        assert ranges(server) == ["", "bytes=100000-", ""]

    def test_without_etags_the_digest_decides(self, server, tmp_path):
        server.etags = False
        server.faults.append(Fault(drop_after=100_000))
        fetch(release(TRAIN, url=server.url), tmp_path)
        assert ranges(server) == ["", "bytes=100000-"]
        assert "If-Range" not in server.requests[1].headers

    def test_a_part_that_is_longer_than_the_file_on_the_server(self, server, tmp_path):
        """416: what is asked for begins behind the end."""
        (tmp_path / f"{TRAIN}.part").write_bytes(FILES[TRAIN][:-1])
        server.faults.append(Fault(body=b"short"))
        assert content(fetch(release(TRAIN, url=server.url), tmp_path)) == {"train": FILES[TRAIN]}
        assert [request.status for request in server.requests] == [416, 200]

    def test_a_part_that_is_too_long_or_whole(self, server, tmp_path):
        small = release(TRAIN, VALID, url=server.url)
        (tmp_path / f"{TRAIN}.part").write_bytes(FILES[TRAIN] + b"!")
        (tmp_path / f"{VALID}.part").write_bytes(FILES[VALID])
        assert content(fetch(small, tmp_path)) == {"train": FILES[TRAIN], "validation": FILES[VALID]}
        assert [(request.path, request.status) for request in server.requests] == [(f"/{TRAIN}", 200)]

    def test_a_busy_server_is_asked_again(self, server, tmp_path):
        server.faults.extend([Fault(status=503), Fault(status=429)])
        fetch(release(VALID, url=server.url), tmp_path)
        assert [request.status for request in server.requests] == [503, 429, 200]

    def test_a_server_that_falls_silent_is_asked_again(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(download, "_TIMEOUT", (5, 0.1))
        server.faults.append(Fault(stall_after=1 << 17, stall=1))
        told = []
        found = fetch(release(TRAIN, url=server.url), tmp_path, progress=lambda *a: told.append(a))
        assert content(found) == {"train": FILES[TRAIN]}
        assert ranges(server) == ["", "bytes=131072-"]
        assert any(stage.startswith(f"{TRAIN}: timed out, trying again") for stage, _, _ in told)

    def test_a_killed_process_is_continued_with_the_bytes_that_are_missing(self, server, tmp_path):
        server.faults.append(Fault(pause=0.05))
        small = release(TRAIN, url=server.url)
        part = tmp_path / f"{TRAIN}.part"
        with fetching(small, tmp_path) as child:
            wait_until(lambda: part.exists() and part.stat().st_size > 150_000)
            child.send_signal(signal.SIGKILL)
        have = part.stat().st_size
        assert 0 < have < len(FILES[TRAIN])
        assert not (tmp_path / TRAIN).exists()
        assert content(fetch(small, tmp_path)) == {"train": FILES[TRAIN]}
        assert server.requests[-1].headers["Range"] == f"bytes={have}-"
        assert server.requests[-1].sent == len(FILES[TRAIN]) - have


class TestErrors:
    """One message each, with the mend."""

    def test_not_there(self, server, tmp_path):
        del server.files[VALID]
        message = error(release(VALID, url=server.url), tmp_path)
        assert f"'{server.url}/{VALID}' can't be fetched: the server answers 404 Not Found" in message
        assert "--mirror=URL" in message
        assert "--source_dir=DIR" in message
        assert len(server.requests) == 1

    def test_no_network(self, tmp_path):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}"
            message = error(release(VALID, url=url), tmp_path)
        assert "can't be fetched (Connection refused); check the network and its proxy" in message
        assert "--source_dir=DIR" in message
        assert "secret" not in message

    def test_no_such_host(self, tmp_path, monkeypatch):
        def unknown(*arguments, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        assert "(Name or service not known)" in error(release(VALID, url="http://stories.invalid"), tmp_path)

    def test_a_redirect_with_a_signature_is_not_shown(self, server, tmp_path):
        target = f"{server.url}/gone?signature=secret"
        server.faults.append(Fault(status=302, headers={"Location": target}))
        assert "secret" not in error(release(VALID, url=server.url), tmp_path)

    def test_redirects_in_a_circle(self, server, tmp_path):
        server.faults.extend([Fault(status=302, headers={"Location": f"/{VALID}"})] * 40)
        assert "(TooManyRedirects)" in error(release(VALID, url=server.url), tmp_path)

    def test_an_html_page_in_the_place_of_the_file(self, server, tmp_path):
        server.faults.append(
            Fault(body=b"<html>Log in", headers={"Content-Type": "text/html; charset=utf-8"})
        )
        assert "gives an HTML page" in error(release(VALID, url=server.url), tmp_path)

    def test_another_size_is_told_before_it_is_fetched(self, server, tmp_path):
        server.files[TRAIN] = FILES[TRAIN] + b"!"
        message = error(release(TRAIN, url=server.url), tmp_path)
        assert f"expected {len(FILES[TRAIN]):,} bytes, got {len(FILES[TRAIN]) + 1:,}" in message
        assert (tmp_path / f"{TRAIN}.part").stat().st_size == 0

    def test_another_size_that_the_server_does_not_say(self, server, tmp_path):
        server.faults.append(Fault(chunked=True))
        fetch(release(VALID, url=server.url), tmp_path / "right")
        server.faults.append(Fault(body=FILES[TRAIN] + b"!", chunked=True))
        assert "got more" in error(release(TRAIN, url=server.url), tmp_path)
        server.faults.extend([Fault(body=b"short", chunked=True)] * 9)
        assert "can't be fetched (the connection was cut)" in error(
            release(TRAIN, url=server.url), tmp_path / "short"
        )

    def test_wrong_content_is_removed_and_told(self, server, tmp_path):
        small = release(VALID, url=server.url)
        wrong = FILES[VALID][:-1] + b"!"
        server.files[VALID] = wrong
        message = error(small, tmp_path)
        assert f"expected SHA-256 {small.train.sha256}, got {hashlib.sha256(wrong).hexdigest()}" in message
        assert "damaged or another version" in message
        assert "--mirror=URL" in message
        assert not list(tmp_path.glob("Small*"))
        server.files[VALID] = FILES[VALID]
        assert content(fetch(small, tmp_path)) == {"train": FILES[VALID]}

    def test_a_full_disk_is_told_before_anything_comes(self, server, tmp_path, monkeypatch):
        usage = download.shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
        message = error(release(TRAIN, url=server.url), tmp_path)
        assert "is too full for Small-train.txt" in message
        assert not server.requests

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
    def test_a_disk_that_gets_full(self, server, tmp_path):
        (tmp_path / f"{TRAIN}.part").symlink_to("/dev/full")
        message = error(release(TRAIN, url=server.url), tmp_path)
        assert "is too full for Small-train.txt (No space left on device); free some space" in message

    def test_options_that_make_no_sense(self, tmp_path):
        small = release(VALID)
        assert "--mirror=ftp://a is no address" in error(small, tmp_path, mirror="ftp://a")
        assert "exclude each other" in error(small, tmp_path, mirror="http://a", source_dir=tmp_path)
        assert "name a local folder" in error(small, "gs://bucket/folder")


class TestGivenFiles:
    """What the user has is used where it lies, and never touched."""

    def test_they_replace_the_download(self, offline, tmp_path):
        source = tmp_path / "mine"
        source.mkdir()
        for name in (TRAIN, VALID):
            (source / name).write_bytes(FILES[name])
            (source / name).chmod(0o444)
        source.chmod(0o555)
        told = []
        for _ in range(2):
            found = fetch(
                release(TRAIN, VALID), tmp_path / "to", source_dir=source, progress=lambda *a: told.append(a)
            )
            assert found == {"train": source / TRAIN, "validation": source / VALID}
        assert sum(stage == f"checking {VALID}" for stage, _, _ in told) == 1
        assert sorted(path.name for path in source.iterdir()) == [TRAIN, VALID]

    def test_remote_ones_are_checked_each_time(self, offline, tmp_path, monkeypatch):
        """As on gs://, where a time tells nothing."""
        monkeypatch.setattr(download, "is_local", lambda path: "mine" not in os.fspath(path))
        source, told = tmp_path / "mine", []
        source.mkdir()
        (source / VALID).write_bytes(FILES[VALID])
        for _ in range(2):
            fetch(release(VALID), tmp_path / "to", source_dir=source, progress=lambda *a: told.append(a))
        assert [stage for stage, _, _ in told] == [f"checking {VALID}"] * 2

    def test_missing_ones_are_named(self, offline, tmp_path):
        source = tmp_path / "mine"
        source.mkdir()
        message = error(release(TRAIN, VALID), tmp_path / "to", source_dir=source)
        assert f"'{source}' lacks {TRAIN} and {VALID} of small" in message

    @pytest.mark.parametrize(
        ("data", "cause"),
        [
            (FILES[VALID][:100], "it is cut off"),
            (b"<!DOCTYPE html><html>Log in", "it is an HTML page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a Git LFS pointer"),
            (FILES[VALID] + b"!", "it is damaged or another version"),
        ],
        ids=["cut", "html", "pointer", "longer"],
    )
    def test_wrong_ones_are_told_with_the_likely_cause(self, offline, tmp_path, data, cause):
        source = tmp_path / "mine"
        source.mkdir()
        (source / VALID).write_bytes(data)
        message = error(release(VALID), tmp_path / "to", source_dir=source)
        assert f"expected {len(FILES[VALID]):,} bytes, got {len(data):,}; {cause}" in message
        assert (source / VALID).read_bytes() == data

    def test_an_archive_is_unpacked_beside_and_needed_no_more(self, offline, tmp_path):
        source = tmp_path / "mine"
        source.mkdir()
        (source / ARCHIVE).write_bytes(FILES[ARCHIVE])
        found = fetch(release(ARCHIVE), tmp_path / "to", source_dir=source)
        assert found == {"train": tmp_path / "to" / "Small_all_data"}
        (source / ARCHIVE).unlink()
        assert fetch(release(ARCHIVE), tmp_path / "to", source_dir=source) == found


class TestArchives:
    def test_the_json_files_are_unpacked_once_and_can_be_read(self, server, tmp_path, request):
        small = release(ARCHIVE, url=server.url)
        folder = fetch(small, tmp_path)["train"]
        assert {path.name for path in folder.iterdir()} == {*SHARDS, ".unpacked.json"}
        assert all((folder / name).read_bytes() == data for name, data in SHARDS.items())
        records = list(textio.read(folder))
        assert [r.text for r in records] == [text for i in range(3) for text in make_stories(5, i)]
        assert records[0].words == ("hang", "foot", "cute")
        request.getfixturevalue("offline")
        (tmp_path / ARCHIVE).unlink()
        told = []
        assert fetch(small, tmp_path, progress=lambda *a: told.append(a)) == {"train": folder}
        assert not told

    @pytest.mark.parametrize("end", [0.5, 0.9, 0.999])
    def test_one_that_is_cut_off(self, offline, tmp_path, monkeypatch, end):
        monkeypatch.setitem(FILES, ARCHIVE, FILES[ARCHIVE][: int(len(FILES[ARCHIVE]) * end)])
        assert "is no archive or is cut off" in self.unpacking_error(tmp_path)

    def test_one_without_the_checksum_at_its_end(self, offline, tmp_path, monkeypatch):
        """The tar inside is whole, and ends with a block that is read."""
        data = archive({"data00.json": os.urandom(320_000)})
        assert len(gzip.decompress(data)) % download._BLOCK == 0
        monkeypatch.setitem(FILES, ARCHIVE, data[:-4])
        assert "is no archive or is cut off" in self.unpacking_error(tmp_path)

    @pytest.mark.parametrize(
        "data",
        [b"", b"no archive", gzip.compress(b"no tar"), archive({"a.txt": b""})],
        ids=["empty", "text", "no tar", "no json"],
    )
    def test_one_that_is_none(self, offline, tmp_path, monkeypatch, data):
        monkeypatch.setitem(FILES, ARCHIVE, data)
        assert "is no archive or is cut off" in self.unpacking_error(tmp_path)

    @pytest.mark.parametrize("name", ["../escaped.json", "a/../../escaped.json"])
    def test_a_path_that_escapes_is_refused(self, offline, tmp_path, monkeypatch, name):
        monkeypatch.setitem(FILES, ARCHIVE, archive(SHARDS | {name: b"[]"}))
        assert "would lie outside of its folder" in self.unpacking_error(tmp_path)

    def test_an_absolute_path_stays_inside(self, offline, tmp_path, monkeypatch):
        monkeypatch.setitem(FILES, ARCHIVE, archive({"/deep/a.json": b"[]"}))
        (tmp_path / ARCHIVE).write_bytes(FILES[ARCHIVE])
        folder = fetch(release(ARCHIVE), tmp_path)["train"]
        assert (folder / "deep" / "a.json").read_bytes() == b"[]"
        assert fetch(release(ARCHIVE), tmp_path) == {"train": folder}

    def unpacking_error(self, folder: pathlib.Path) -> str:
        (folder / ARCHIVE).write_bytes(FILES[ARCHIVE])
        message = error(release(ARCHIVE), folder)
        assert not list(folder.glob(".partial*"))
        assert not (folder / "Small_all_data").exists()
        return message

    def test_what_a_killed_process_left_is_no_hindrance(self, offline, tmp_path):
        (tmp_path / ARCHIVE).write_bytes(FILES[ARCHIVE])
        partial = tmp_path / ".partial-Small_all_data"
        partial.mkdir()
        (partial / "data99.json").write_text("[")
        folder = fetch(release(ARCHIVE), tmp_path)["train"]
        assert not partial.exists()
        assert sorted(path.name for path in folder.glob("[!.]*")) == sorted(SHARDS)

    def test_a_folder_that_is_not_whole_is_told(self, offline, tmp_path):
        (tmp_path / ARCHIVE).write_bytes(FILES[ARCHIVE])
        folder = fetch(release(ARCHIVE), tmp_path)["train"]
        (folder / "data01.json").unlink()
        message = error(release(ARCHIVE), tmp_path)
        assert f"the folder '{folder}' is not what is unpacked from {ARCHIVE}" in message
        assert "move it away" in message

    def test_a_folder_of_the_users_own_is_told(self, offline, tmp_path):
        (tmp_path / "Small_all_data").mkdir()
        assert "is not what is unpacked" in error(release(ARCHIVE), tmp_path)


MEASURE = """
import pathlib, re, resource, sys
from tinyjax.stories.download import fetch
from tinyjax.stories.releases import File, Release

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # where getrusage counts the parent too
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
fetch(eval(sys.argv[1]), sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_memory_stays_flat(server, tmp_path, packed):
    """200 MB come, are checked and unpacked in far less."""
    source = tmp_path / "Big.txt"
    with source.open("wb") as file:
        for i in range(200):
            file.write(i.to_bytes(4, "little") * (1 << 18))
    if packed:
        source = source.rename(tmp_path / "Big.json")
        with tarfile.open(tmp_path / "Big.tar.gz", "w:gz", compresslevel=1) as tar:
            tar.add(source, "Big.json")
        source = tmp_path / "Big.tar.gz"
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    server.files[source.name] = source
    big = File(source.name, source.stat().st_size, digest)
    small = Release("big", "1.0.0", server.url, big, None, "none", "A big release.")
    command = [sys.executable, "-c", MEASURE, repr(small), str(tmp_path / "to")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert int(result.stdout) < 30e6
