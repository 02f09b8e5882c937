"""What may be run on other machines."""

import pytest

from launch.cloud.binaries import binaries, command
from tinyjax.errors import UserError


def test_the_binaries_are_those_of_the_library():
    assert {"prepare", "train", "sample", "evaluate", "interpret", "export", "import"} <= binaries()
    assert not {"app", "backend", "options", "progress"} & binaries()


def test_a_binary_and_its_flags_become_a_command():
    assert command(["train", "--run_dir=gs://b/r"], "python") == (
        "python",
        "-m",
        "tinyjax.bin.train",
        "--run_dir=gs://b/r",
    )


def test_a_binary_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no binary 'trian' \(did you mean 'train'\?\)"):
        command(["trian"])


def test_nothing_to_run_is_refused():
    with pytest.raises(UserError, match="what to run is missing"):
        command([])
