"""Downloads from a server of our own on this machine."""

from __future__ import annotations

import errno
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from speechprune.common import download as module
from speechprune.common.download import download_file
from speechprune.common.files import WriteError

DATA = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server():
    """``ranges`` as asked for; ``breaks``: bytes after which each reply ends; ``resumes``: whether ranges work."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            owner.ranges.append(wanted)
            if self.path != "/data":
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and owner.resumes else 0
            if start >= len(DATA):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(DATA) - start))
            self.end_headers()
            self.wfile.write(DATA[start:][: owner.breaks])

        def log_message(self, *args):
            pass

    owner = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    owner.ranges, owner.breaks, owner.resumes = [], None, True
    owner.url = f"http://127.0.0.1:{owner.server_address[1]}/data"
    threading.Thread(target=owner.serve_forever, daemon=True).start()
    yield owner
    owner.shutdown()
    owner.server_close()


def test_a_file_comes_whole_and_once(server, tmp_path):
    path = tmp_path / "a" / "data"
    assert download_file(server.url, path, SHA256) == path
    assert download_file(server.url, path, SHA256) == path
    assert path.read_bytes() == DATA
    assert server.ranges == [None]
    assert [p.name for p in path.parent.iterdir()] == ["data"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_that_broke_off_goes_on(server, tmp_path, resumes):
    server.breaks, server.resumes = 300_000, resumes
    with pytest.raises(OSError, match="run it again"):
        download_file(server.url, tmp_path / "data", SHA256)
    assert not (tmp_path / "data").exists()
    server.breaks = None
    download_file(server.url, tmp_path / "data", SHA256)
    assert (tmp_path / "data").read_bytes() == DATA
    assert server.ranges == [None, "bytes=300000-"]


def test_a_part_that_is_complete(server, tmp_path):
    (tmp_path / "data.part").write_bytes(DATA)
    download_file(server.url, tmp_path / "data", SHA256)
    assert (tmp_path / "data").read_bytes() == DATA


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=f"sha256 {SHA256}, expected abc; .* is removed"):
        download_file(server.url, tmp_path / "data", "abc")
    assert list(tmp_path.iterdir()) == []


def test_refusals(server, tmp_path):
    with pytest.raises(ValueError, match=r"/none: the server answered 404"):
        download_file(server.url.replace("/data", "/none"), tmp_path / "none")
    with pytest.raises(ValueError, match="begins with http"):
        download_file("file:///etc/passwd", tmp_path / "x")
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="run it again, it goes on after 0 bytes"):
        download_file(server.url, tmp_path / "x")


def test_a_full_disk_keeps_what_came(server, tmp_path, monkeypatch):
    def full(file, block, part):
        raise WriteError(part, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(WriteError, match="free some space and rerun"):
        download_file(server.url, tmp_path / "data")
