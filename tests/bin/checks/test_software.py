"""What is installed is compared with a lock."""

from importlib import metadata

from etils import epath

from tinyjax.bin.checks import software

NUMPY = metadata.version("numpy")


def looked(tmp_path, text: str) -> str:
    file = epath.Path(tmp_path) / "py3.lock"
    file.write_text(text)
    (found,) = software.lock(file)
    return str(found)


def test_what_is_as_locked_is_fine(tmp_path):
    text = (
        f"numpy=={NUMPY} \\\n    --hash=sha256:0123\n"
        "absent==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:4567\n"
    )
    assert looked(tmp_path, text) == "ok       lock: all 1 packages are as in py3.lock"


def test_what_differs_is_counted_and_named(tmp_path):
    lines = [f"numpy=={NUMPY}", "jax==0.0.1", "Not-There==2", "flax==0.1", "etils==0.1", "optax==0.1"]
    assert looked(tmp_path, "\n".join(lines)) == (
        f"warning  lock: 5 of 6 packages differ from py3.lock: "
        f"jax {metadata.version('jax')} (0.0.1 is locked), Not-There missing (2 is locked), "
        f"flax {metadata.version('flax')} (0.1 is locked), "
        f"etils {metadata.version('etils')} (0.1 is locked), ...; run ./tools/setup run"
    )


def test_without_a_lock_that_is_said(tmp_path):
    (found,) = software.lock(epath.Path(tmp_path) / "none.lock")
    assert found.level == "warning"


def test_the_repository_s_own_lock_is_found_and_read():
    assert "jax" in software._locked(software.lock_file().read_text())


def test_versions_of_what_matters_are_told():
    (found,) = software.versions()
    assert found.level == "ok"
    assert f"numpy {NUMPY}" in found.text


def test_a_package_that_must_be_there_is_missed(monkeypatch):
    monkeypatch.setattr(software, "MAIN", ("numpy", "not-there"))
    (found,) = software.versions()
    assert str(found) == f"problem  versions: numpy {NUMPY}, not-there not installed; run ./tools/setup run"


def test_another_python_is_a_problem(monkeypatch):
    assert software.python()[0].level == "ok"
    monkeypatch.setattr(software, "_PYTHONS", ())
    assert software.python()[0].level == "problem"
