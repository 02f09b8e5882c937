"""Completions as the client of OpenAI asks for them: the stories that the library tells."""

import concurrent.futures
import json
import time
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.serve.running import Running
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.score import score
from tinyjax.sample.stories import Completion, generate, make_requests

FINISH = {"end": "stop", "stop": "stop", "length": "length"}
PROMPTS = ["Lily", "Tom saw"]


def told(stories: list[Completion]) -> list[tuple[str, str]]:
    return [(story.text, FINISH[story.finish]) for story in stories]


def ask(client: OpenAI, prompt: Any, **fields: Any) -> Any:
    """Returns the answer, or with stream=True its events."""
    return client.completions.create(model="tiny", prompt=prompt, **fields)


def answered(completion: Any) -> list[tuple[str, str]]:
    return [(choice.text, choice.finish_reason) for choice in completion.choices]


@pytest.fixture(scope="module")
def stories(model: Model) -> list[Completion]:
    return generate(model, PROMPTS, num_samples=2, seed=5, alternatives=5)


def test_stories_are_those_of_the_library(client: OpenAI, stories: list[Completion]):
    answer = ask(client, PROMPTS, n=2, seed=5)
    assert answered(answer) == told(stories)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    drawn = sum(len(story.tokens) for story in stories)
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (
        drawn,
        drawn + answer.usage.prompt_tokens,
    )


def test_a_stream_is_the_same_in_pieces(client: OpenAI, model: Model, stories: list[Completion]):
    options = {"include_usage": True}
    events = list(ask(client, PROMPTS, n=2, seed=5, stream=True, stream_options=options))
    texts, ends = dict.fromkeys(range(4), ""), {}
    for choice in (choice for event in events for choice in event.choices):
        texts[choice.index] += choice.text
        assert choice.index not in ends
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert [(texts[i], ends[i]) for i in range(4)] == told(stories)
    assert max(len(choice.text) for event in events for choice in event.choices) < 60  # a few tokens each
    *others, last = events
    assert all(event.usage is None for event in others)
    assert last.usage.completion_tokens == sum(len(story.tokens) for story in stories)
    assert last.usage.prompt_tokens == sum(
        len(make_requests(model, p, options=Options())[0].prompt) for p in PROMPTS
    )


def test_stories_of_several_clients_are_told_side_by_side_and_stay_the_same(client: OpenAI, model: Model):
    def one(seed: int) -> list[tuple[str, str]]:
        return answered(ask(client, "Ben", seed=seed))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        together = list(pool.map(one, range(6)))
    assert together == [told(generate(model, ["Ben"], seed=seed)) for seed in range(6)]


def test_options_are_those_of_the_library(client: OpenAI, model: Model):
    fields: dict[str, Any] = {
        "temperature": 1.3,
        "top_p": 0.9,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.2,
    }
    extra: dict[str, Any] = {"top_k": 40, "min_p": 0.01, "repetition_penalty": 1.2, "min_tokens": 12}
    answer = ask(client, "Lily", seed=1, max_tokens=12, logit_bias={"300": 6}, **fields, extra_body=extra)
    options = Options(max_tokens=12, logit_bias=((300, 6.0),), **fields, **extra)
    assert answered(answer) == told(generate(model, ["Lily"], seed=1, options=options))
    assert answer.choices[0].finish_reason == "length"


def test_a_story_ends_before_a_text_to_stop_at(client: OpenAI, stories: list[Completion]):
    whole = stories[0].text
    for stop in (whole[9:13], ["not there", whole[9:13]]):
        for stream in (False, True):
            answer = ask(client, "Lily", seed=5, stop=stop, stream=stream)
            choices = [c for part in (answer if stream else [answer]) for c in part.choices]
            assert "".join(choice.text for choice in choices) == whole[: whole.index(whole[9:13])]
            assert choices[-1].finish_reason == "stop"


def test_log_probabilities_are_those_of_the_library(client: OpenAI, model: Model, stories: list[Completion]):
    (choice,) = ask(client, "Lily", seed=5, logprobs=3).choices
    story, given = stories[0], choice.logprobs
    assert given.token_logprobs == pytest.approx([token.logprob for token in story.tokens], abs=1e-4)
    ended = given.tokens[-1] == "<|endoftext|>"
    assert ended == (story.finish == "end")
    assert "".join(given.tokens[: len(given.tokens) - ended]) == story.text
    for name, offset in zip(given.tokens, given.text_offset, strict=True):
        assert story.text[offset:].startswith("" if name == "<|endoftext|>" else name)
    for top, token in zip(given.top_logprobs, story.tokens, strict=True):
        likeliest = [logprob for _, logprob in token.alternatives[:3]]
        assert sorted(top.values(), reverse=True)[:3] == pytest.approx(likeliest, abs=1e-4)
        assert len(top) == 3 + (token.logprob < likeliest[-1])
    (bare,) = ask(client, "Lily", seed=5, logprobs=0).choices
    assert (bare.logprobs.tokens, bare.logprobs.top_logprobs) == (given.tokens, None)


def test_a_prompt_comes_back_with_what_the_model_thinks_of_it(client: OpenAI, model: Model):
    """As programs that evaluate models ask: no token is drawn."""
    text = "Lily saw 🎈 a boat."
    answer = ask(client, [text, ""], echo=True, logprobs=1, max_tokens=0)
    first, second = answer.choices
    (scored,) = score(model, [("", text)])
    assert (first.text, first.finish_reason, second.text) == (text, "length", "")
    assert first.logprobs.token_logprobs == pytest.approx([t.logprob for t in scored.tokens], abs=1e-3)
    assert "bytes:\\xf0" in first.logprobs.tokens
    assert first.logprobs.text_offset[-1] <= len(text) - 1
    assert answer.usage.completion_tokens == 0
    (both,) = ask(client, "Lily", seed=5, echo=True, logprobs=1, max_tokens=3).choices
    assert both.text.startswith("Lily")
    assert both.text == "".join(both.logprobs.tokens)
    stream = ask(client, "Lily", seed=5, echo=True, max_tokens=3, stream=True)
    assert "".join(choice.text for event in stream for choice in event.choices) == both.text


def test_prompts_may_be_tokens(client: OpenAI, model: Model, stories: list[Completion]):
    ids = [model.tokenizer.encode(prompt).tolist() for prompt in PROMPTS]
    with_bos = [[model.tokenizer.bos_id, *row] for row in ids]
    for prompts in (ids, with_bos):
        answer = ask(client, prompts, n=2, seed=5)
        assert answered(answer) == told(stories)
    assert answered(ask(client, ids[0], n=2, seed=5)) == told(stories[:2])


def test_without_a_seed_stories_differ_and_the_answer_tells_the_seed(client: OpenAI):
    first, second = (ask(client, "", n=2) for _ in range(2))
    assert answered(first) != answered(second)
    again = ask(client, "", n=2, seed=first.model_extra["seed"])
    assert answered(again) == answered(first)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 7]}, "prompt"),
        ({"prompt": [5, 320]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": "Lily saw a boat. " * 40}, "prompt"),
        ({"prompt": [9] * 64}, "prompt"),
        ({"prompt": "a\ud800"}, "prompt"),
        ({"prompt": ["a"] * 1100, "n": 2}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 2003}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens"),
        ({"max_tokens": 4, "min_tokens": 5}, "min_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": float("nan")}, "min_p"),
        ({"seed": 2**32}, "seed"),
        ({"stop": 3}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"logprobs": 6}, "logprobs"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"320": 1}}, "logit_bias"),
        ({"logit_bias": {"3": float("inf")}}, "logit_bias"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "The end."}, "suffix"),
        ({"instructions": {"words": ["boat"]}}, "instructions"),
        ({"instructions": {"word": ["boat"]}}, "instructions"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict, param: str, server: Running):
    answer = post(server, json.dumps({"prompt": "Lily"} | fields).encode())
    assert answer.status_code == 400
    said = answer.json()["error"]
    assert (said["param"], said["type"]) == (param, "invalid_request_error")
    assert said["message"].startswith((param, "this model", "the prompt", "1100 prompts"))
    assert "--" not in said["message"]


def test_the_client_understands_what_it_is_told(client: OpenAI):
    with pytest.raises(openai.BadRequestError, match=r"temperature is -1\.0; it must be 0 or more") as caught:
        ask(client, "", temperature=-1)
    assert caught.value.param == "temperature"


def post(server: Running, content: bytes, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return httpx.post(f"{server.url}/v1/completions", content=content, headers=headers)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[1]", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": "' + b"a" * 300_000 + b'"}', 413),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(content: bytes, status: int, server: Running):
    answer = post(server, content)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_pages_of_others_can_ask_nothing(server: Running):
    """Not without being allowed to, by a form, or by a name that leads to this machine."""
    assert post(server, b"{}", Content_Type="text/plain").status_code == 415
    assert post(server, b"{}", Host="stories.example").status_code == 400
    asks = {"Origin": "http://localhost:3", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{server.url}/v1/completions", headers=asks)
    assert "access-control-allow-origin" not in answer.headers


def test_what_is_not_there(client: OpenAI, server: Running):
    with pytest.raises(openai.NotFoundError, match="no model 'large'"):
        client.completions.create(model="large", prompt="")
    with pytest.raises(openai.NotFoundError, match="no model 'large'"):
        client.models.retrieve("large")
    with pytest.raises(openai.NotFoundError, match="stories are told by POST /v1/completions"):
        client.chat.completions.create(model="tiny", messages=[])
    assert httpx.get(f"{server.url}/v1/completions").status_code == 405


def test_the_model_and_its_health(client: OpenAI, server: Running):
    (model,) = client.models.list().data
    assert client.models.retrieve("tiny") == model
    card = model.to_dict()
    assert (card["id"], card["context_length"], card["instruct"], card["step"]) == ("tiny", 64, False, 200)
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_fields_that_nobody_knows_are_named(client: OpenAI):
    given = client.completions.with_raw_response.create(
        model="tiny",
        prompt="",
        max_tokens=1,
        top_p=None,
        user="me",
        extra_body={"typical_p": 1, "mirostat": 0},
    )
    assert given.headers["x-ignored-fields"] == "mirostat, typical_p"


def metrics(server: Running) -> dict[str, float]:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def growth(before: dict[str, float], after: dict[str, float], name: str) -> float:
    return after[name] - before.get(name, 0)


def test_metrics_count_what_was_told(client: OpenAI, server: Running):
    before = metrics(server)
    answer = ask(client, "Lily", max_tokens=3, n=4)
    after = metrics(server)
    assert growth(before, after, "tinyjax_tokens_total") == answer.usage.completion_tokens
    assert growth(before, after, "tinyjax_prompt_tokens_total") == answer.usage.prompt_tokens
    assert growth(before, after, 'tinyjax_answers_total{status="200"}') == 1
    assert growth(before, after, "tinyjax_first_token_seconds_count") == 1
    assert after["tinyjax_slots"] == 2


# So many stories, as long as there can be, take some seconds.
LONG = {"prompt": "Lily", "n": 1990, "min_tokens": 60}


def is_idle(server: Running) -> bool:
    now = metrics(server)
    return now["tinyjax_stories_telling"] == now["tinyjax_stories_waiting"] == 0


def test_a_full_queue_says_when_to_ask_again_and_a_client_that_leaves_frees_it(
    client: OpenAI, server: Running
):
    before = metrics(server)
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG | {"stream": True}) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        during = metrics(server)
        assert (during["tinyjax_stories_telling"], during["tinyjax_stories_waiting"] > 200) == (2, True)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client, "", n=200)
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    wait_for_idle(server)
    gone = growth(before, metrics(server), 'tinyjax_stories_total{finish="gone"}')
    assert gone > 1500
    assert len(ask(client, "", n=200, max_tokens=1).choices) == 200


def test_a_client_that_leaves_before_its_answer_frees_its_slots(server: Running):
    before = metrics(server)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/completions", json=LONG, timeout=0.3)
    wait_for_idle(server)
    after = metrics(server)
    assert growth(before, after, 'tinyjax_answers_total{status="499"}') == 1
    assert growth(before, after, 'tinyjax_stories_total{finish="gone"}') > 100


def wait_for_idle(server: Running) -> None:
    end = time.monotonic() + 0.5  # in which the stories would not have been told
    while not is_idle(server):
        assert time.monotonic() < end
        time.sleep(0.01)
