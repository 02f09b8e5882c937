"""What the report reads: evaluations that may lack parts, and one line for each folder that is none."""

import json
import pathlib

import pytest

from tests.evaluate.report.evaluations import ALL, make, write
from tinyjax.errors import UserError
from tinyjax.evaluate.report.reading import as_json, read_evaluations


@pytest.fixture
def whole() -> dict:
    return make("small", total=1_000_000)


def test_what_was_written_is_read(whole, tmp_path: pathlib.Path):
    (read,) = read_evaluations([write(tmp_path / "a", whole)])
    assert read.about == whole["evaluation"]
    assert read.parts == {name: whole[name] for name in ALL if name != "stories"}
    assert list(read.stories) == whole["stories"]


@pytest.mark.parametrize("part", ALL)
def test_each_part_may_be_missing(part: str, whole, tmp_path: pathlib.Path):
    del whole[part]
    (read,) = read_evaluations([write(tmp_path / "a", whole)])
    assert part not in read.parts
    assert bool(read.stories) == (part != "stories")


def test_names_tell_evaluations_apart(tmp_path: pathlib.Path):
    made = [
        make("a", total=10),
        make("b", total=10, step=5),
        make("b", total=10, step=1000),
        make("c", total=10),
        make("c", total=10),
    ]
    folders = [write(tmp_path / str(i), one) for i, one in enumerate(made)]
    names = [evaluation.name for evaluation in read_evaluations(folders)]
    assert names[:3] == ["a", "b, step 5", "b, step 1,000"]
    assert names[3:] == [f"c, {tmp_path / '3'}", f"c, {tmp_path / '4'}"]


@pytest.mark.parametrize(
    "checkpoint", ["runs/x", "runs/x/", "runs/x/checkpoints/7", "runs/x/7", "runs/x/checkpoints/7/"]
)
def test_the_run_of_a_checkpoint(checkpoint: str, tmp_path: pathlib.Path):
    (read,) = read_evaluations([write(tmp_path / "a", make("a", total=10, step=7, checkpoint=checkpoint))])
    assert read.run == "runs/x"


def test_stories_of_an_evaluation_that_goes_on(whole, tmp_path: pathlib.Path):
    folder = write(tmp_path / "a", whole)
    told = whole["stories"][0] | {"story": "told again"}
    with (folder / "stories.jsonl").open("a") as file:
        file.write(json.dumps(told) + '\n{"prompt": "cut o')
    (read,) = read_evaluations([folder])
    assert len(read.stories) == len(whole["stories"])
    assert read.stories[0]["story"] == "told again"


def test_what_is_no_number_may_be_left_out(whole, tmp_path: pathlib.Path):
    whole["judge"]["agreement"]["by_grade"]["plot"]["pearson"] = float("nan")
    (read,) = read_evaluations([write(tmp_path / "a", whole)])
    assert read.parts["judge"]["agreement"]["by_grade"]["plot"]["pearson"] is None


def test_json_has_every_number(whole, tmp_path: pathlib.Path):
    (one,) = as_json(read_evaluations([write(tmp_path / "a", whole)]))["evaluations"]
    for part in ALL[:-1]:
        assert one[part] == whole[part]
    assert one["parameters"] == whole["evaluation"]["parameters"]
    for kept, story in zip(one["stories"], whole["stories"], strict=True):
        assert kept == {
            name: story[name] for name in ("prompt", "sample", "finish", "tokens", "logprob", "seed")
        }


class TestRefusals:
    """A folder that holds something else is refused in one line that says where and what to do."""

    def test_no_folder(self):
        with pytest.raises(UserError, match="no evaluation to report on; give the folders"):
            read_evaluations([])

    def test_a_folder_that_is_none(self, tmp_path: pathlib.Path):
        with pytest.raises(UserError, match=r"holds no evaluation \(evaluation.json\); give the folder"):
            read_evaluations([tmp_path])
        with pytest.raises(UserError, match="nowhere' holds no evaluation"):
            read_evaluations([tmp_path / "nowhere"])

    def test_one_that_is_given_twice(self, whole, tmp_path: pathlib.Path):
        folder = write(tmp_path / "a", whole)
        with pytest.raises(UserError, match="given twice"):
            read_evaluations([folder, f"{folder}/"])

    def test_what_is_no_json(self, whole, tmp_path: pathlib.Path):
        folder = write(tmp_path / "a", whole)
        (folder / "loss.json").write_text('{"set": ')
        with pytest.raises(UserError, match=r"loss.json' is not JSON .*; evaluate that part again"):
            read_evaluations([folder])
        (folder / "loss.json").write_bytes(b"\xff")
        with pytest.raises(UserError, match=r"loss.json' is not JSON"):
            read_evaluations([folder])

    @pytest.mark.parametrize(
        ("part", "keys", "value", "said"),
        [
            ("evaluation", ("name",), 3, "evaluation.name is not a text"),
            ("evaluation", ("parameters",), [], "evaluation.parameters is not an object"),
            ("evaluation", ("parameters", "total"), 0, "evaluation.parameters.total is not a number above 0"),
            ("loss", ("bits_per_byte",), 1.0, "loss.bits_per_byte is not an object"),
            ("loss", ("bits_per_byte", "low"), None, "loss.bits_per_byte.low is not a number"),
            ("loss", ("standard_error",), float("nan"), "loss.standard_error is not a number"),
            ("loss", ("standard_error",), True, "loss.standard_error is not a number"),
            ("loss", ("by_position", 1, "from"), "x", "loss.by_position[1].from is not a number"),
            ("judge", ("means", "plot"), 7.1, "judge.means.plot is not an object"),
            ("judge", ("grades",), {}, "judge.grades is not a list"),
            (
                "probes",
                ("groups", "world", "accuracy"),
                None,
                "probes.groups.world.accuracy is not an object",
            ),
            ("probes", ("items", 0, "correct"), 1, "probes.items[0].correct is not true or false"),
            ("novelty", ("kgram_share", "generated", "3"), 0.5, "novelty.kgram_share.generated.3 is not"),
            ("quality", ("held_out",), 1, "quality.held_out is not an object"),
            ("stories", (0, "story"), None, "line 1.story is not a text"),
        ],
    )
    def test_another_shape(self, part, keys, value, said, whole, tmp_path: pathlib.Path):
        place = whole[part]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        with pytest.raises(UserError) as error:
            read_evaluations([write(tmp_path / "a", whole)])
        assert said in str(error.value)
        assert str(tmp_path / "a") in str(error.value)
        assert str(error.value).endswith("; evaluate that part again")

    def test_what_is_lacking(self, whole, tmp_path: pathlib.Path):
        del whole["loss"]["set"]["fingerprint"]
        with pytest.raises(UserError, match=r"loss.set.fingerprint is not there"):
            read_evaluations([write(tmp_path / "a", whole)])
