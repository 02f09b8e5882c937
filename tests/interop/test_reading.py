"""A model is found wherever it lies, in whatever format: on a disk, on gs://, on the hub."""

import http.server
import json
import pathlib
import shutil
import threading
from collections.abc import Generator

import pytest
from etils import epath

from tests.gcs import BUCKET
from tests.interop.conftest import assert_equal, random_model
from tests.interop.test_torch_file import torch_bytes
from tinyjax.errors import UserError
from tinyjax.interop import huggingface
from tinyjax.interop.exporting import FORMATS, How, export
from tinyjax.interop.model import Model, without_padding
from tinyjax.interop.reading import read
from tinyjax.tokenizer import Tokenizer


@pytest.fixture
def model(tokenizer: Tokenizer) -> Model:
    return without_padding(random_model(tokenizer))


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_folder_holds_is_told_by_itself(name: str, model: Model, tmp_path: pathlib.Path):
    export(model, tmp_path / "out", How(name))
    read_again = read(tmp_path / "out")
    assert read_again.config.d_model == model.config.d_model
    if name in ("hf", "safetensors"):
        assert_equal(read_again, model)


def test_single_files_are_told_apart(model: Model, tmp_path: pathlib.Path):
    huggingface.write(model, tmp_path)
    tensors = huggingface.to_tensors(model.config, model.params)
    (tmp_path / "pytorch_model.bin").write_bytes(torch_bytes(tensors))
    for name in ("pytorch_model.bin", "model.safetensors"):
        assert_equal(read(tmp_path / name), model)
    (tmp_path / "some.bin").write_bytes(b"\0" * 500)
    with pytest.raises(UserError, match=r"some\.bin"):
        read(tmp_path / "some.bin")


@pytest.mark.slow
def test_a_bucket_is_as_good_as_a_disk(model: Model, bucket):
    folder = epath.Path(f"gs://{BUCKET}/exports/hf")
    export(model, folder, How("hf"))
    assert_equal(read(folder), model)
    with pytest.raises(UserError, match="is there already"):
        export(model, folder, How("hf"))
    export(model, folder, How("hf", card="new"), overwrite=True)
    assert (folder / "README.md").read_text() == "new"


REVISION = "a" * 40


class _Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for one model, owner/stories."""

    folder: pathlib.Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        names = sorted(path.name for path in self.folder.iterdir())
        if self.path.startswith("/api/models/owner/stories/tree/"):
            files = [{"type": "file", "path": name, "size": 1, "oid": REVISION} for name in names]
            return self._answer(200, json.dumps(files).encode())
        if self.path.startswith("/api/models/owner/stories"):
            info = {
                "id": "owner/stories",
                "sha": REVISION,
                "siblings": [{"rfilename": name} for name in names],
            }
            return self._answer(200, json.dumps(info).encode())
        name = self.path.rpartition("/")[2]
        if self.path.startswith("/owner/stories/resolve/") and name in names:
            return self._answer(200, (self.folder / name).read_bytes())
        return self._answer(404, b"{}")

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hash(data):x}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Generator[type[_Hub]]:
    """A hub on this machine, and an empty cache."""
    import huggingface_hub.constants
    import huggingface_hub.hf_api

    _Hub.folder, _Hub.asked = tmp_path / "repository", []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", url)
    yield _Hub
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_name_on_the_hub_is_fetched_without_what_is_not_needed(
    model: Model, hub: type[_Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
):
    huggingface.write(model, hub.folder)
    (hub.folder / "pytorch_model.bin").write_bytes(b"not wanted, as there are safetensors")
    (hub.folder / "training_args.bin").write_bytes(b"not wanted")
    monkeypatch.chdir(tmp_path)
    assert_equal(read("owner/stories"), model)
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched >= {"config.json", "model.safetensors", "tokenizer.model"}
    assert not fetched & {"pytorch_model.bin", "training_args.bin", "README.md"}
    shutil.rmtree(hub.folder)
    hub.folder.mkdir()
    with pytest.raises(UserError, match="can't be fetched from the hub"):
        read("owner/others")
