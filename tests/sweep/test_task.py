"""A member's config, steps and command."""

import dataclasses
import pathlib

import pytest

from configs import paper as paper_models
from configs.sweeps import paper, small
from tests.tiny import tiny_config
from tinyjax.config import Config, resolve, to_dict
from tinyjax.errors import UserError
from tinyjax.model.flops import training_flops
from tinyjax.sweep.budget import batch_and_steps, flops_per_step
from tinyjax.sweep.study import Member, load_sweep
from tinyjax.sweep.task import evaluations, make_tasks, with_settings

ROOT = pathlib.Path(__file__).parent.parent.parent
TINY = str(ROOT / "tests" / "sweep" / "tiny_sweeps.py")


def sized(config: Config, vocab_size: int = 10_048) -> Config:
    return resolve(
        dataclasses.replace(config, model=dataclasses.replace(config.model, vocab_size=vocab_size))
    )


@pytest.mark.parametrize(
    ("file", "name"), [(paper, name) for name in paper.SWEEPS] + [(small, n) for n in small.SWEEPS]
)
def test_every_member_has_a_config_and_a_folder_of_its_own(file, name: str):
    members = file.SWEEPS[name]
    assert len({member.name for member in members}) == len(members) > 1
    for member in members:
        config = sized(file.get_config(member.name))
        if member.flops:
            batch, steps = batch_and_steps(config, member)
            per_step = training_flops(config.model) * batch * 512
            assert abs(steps * per_step - member.flops) <= per_step / 2 or steps == member.most_steps


def test_the_papers_studies_have_its_sizes():
    def sizes(sweep: str) -> set[tuple[int, int, int]]:
        models = [paper.get_config(member.name).model for member in paper.SWEEPS[sweep]]
        return {(model.d_model, model.num_layers, model.num_heads) for model in models}

    assert sizes("grid") == {(w, n, 16) for w in (64, 128, 256, 512, 768, 1024) for n in (1, 2, 4, 8, 12)}
    assert sizes("heads") == {(768, n, h) for n in (1, 2) for h in (2, 4, 8, 16)}
    assert sizes("flops") == {(w, n, 16) for w in (64, 128, 256, 512, 768, 1024, 2048) for n in (2, 4, 8, 12)}


@pytest.mark.parametrize(("member", "preset"), [("64x8", "1M"), ("768x4", "33M"), ("1024x1", "1layer-21M")])
def test_the_grids_models_are_the_released_ones(member: str, preset: str):
    ours, theirs = to_dict(paper.get_config(member)), to_dict(paper_models.get_config(preset))
    ours["train"].pop("checkpoint_every")
    theirs["train"].pop("checkpoint_every")
    assert ours == theirs


def test_steps_come_from_the_flops_of_the_model():
    config = tiny_config(model__vocab_size=320)
    per_step = training_flops(config.model) * 8 * 64
    assert flops_per_step(config) == per_step
    assert batch_and_steps(config, Member("a", flops=100.4 * per_step)) == (8, 100)
    assert batch_and_steps(config, Member("a", flops=100 * per_step, most_steps=30)) == (8, 30)
    assert batch_and_steps(config, Member("a", flops=100 * per_step, least_steps=150)) == (4, 200)
    assert batch_and_steps(config, Member("a", flops=100 * per_step, least_steps=800)) == (1, 800)


def test_flops_that_make_too_few_steps_are_refused():
    config = tiny_config(model__vocab_size=320, train__accumulation=4)
    flops = 100 * flops_per_step(config)
    assert batch_and_steps(config, Member("a", flops=flops, least_steps=200)) == (4, 200)
    with pytest.raises(UserError, match=r"'a' makes 200 steps of 4 windows with .* to make 201 at least"):
        batch_and_steps(config, Member("a", flops=flops, least_steps=201))
    with pytest.raises(UserError, match="'a' makes 0 steps"):
        batch_and_steps(config, Member("a", flops=1.0))


def test_settings_for_all_are_in_config_and_command(tiny_data, tmp_path: pathlib.Path):
    settings = ["train.ema_decay=0.5", "model.qk_norm=true", "data.batch_size=16"]
    tasks = make_tasks(load_sweep(f"{TINY}:killed"), str(tiny_data.path), tmp_path, settings)
    assert [task.name for task in tasks] == ["whole", "broken", "short"]
    for task in tasks:
        assert (task.config.train.ema_decay, task.config.model.qk_norm) == (0.5, True)
        assert {f"--config.{setting}" for setting in settings} < set(task.command)
        assert f"--config={TINY}:{task.name}" in task.command
        assert task.command[-1] == f"--run_dir={tmp_path / task.name}"
    short = tasks[-1]
    assert short.num_steps == round(1e9 / flops_per_step(short.config))
    assert f"--config.train.num_steps={short.num_steps}" in short.command


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.num_steps", "has no value; give it as in train.num_steps=100"),
        ("train.num_step=3", r"'config.train.num_step' \(did you mean 'num_steps'\?\)"),
        ("steps=3", "unknown config key 'config.steps'"),
        ("train.num_steps=many", "config.train.num_steps is 'many'; it must be of type int"),
        ("model.qk_norm=1", "config.model.qk_norm is '1'; it must be of type bool"),
        ("data.loss=some", "legal values: all, story"),
    ],
)
def test_a_setting_that_is_none_is_refused(setting: str, said: str):
    with pytest.raises(UserError, match=said):
        with_settings(Config(), [setting])


def test_what_is_evaluated_already_is_not_evaluated_again(tiny_data, tmp_path: pathlib.Path):
    whole, *_ = make_tasks(load_sweep(TINY), str(tiny_data.path), tmp_path)
    (command,) = evaluations(whole, ["loss", "probes"], ["--num_samples=2"])
    folder = tmp_path / "whole" / "evaluation" / "200"
    assert command[3:] == (
        "tinyjax.bin.evaluate",
        f"--checkpoint={tmp_path}/whole/checkpoints/200",
        f"--data={tiny_data.path}",
        f"--out={folder}",
        "--parts=loss",
        "--parts=probes",
        "--num_samples=2",
    )
    folder.mkdir(parents=True)
    (folder / "loss.json").write_text("{}")
    assert evaluations(whole, ["loss", "probes"])
    assert not evaluations(whole, ["loss"])
    steps = [command[4].rsplit("/")[-1] for command in evaluations(whole, ["loss"], all_steps=True)]
    assert steps == ["50", "100", "150"]
