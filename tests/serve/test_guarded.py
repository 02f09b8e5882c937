"""A server that asks for a key, for a model that takes instructions, and the pages that may use it."""

import httpx
import openai
import pytest
from openai import OpenAI

from tests.serve.conftest import KEY
from tests.serve.running import Running
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def client(server: Running, key: str) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.mark.parametrize("key", ["another key", KEY[:-1], KEY + "x", "é"])
def test_without_its_key_nobody_is_told_anything(key: str, guarded: Running):
    if key.isascii():
        with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer"):
            client(guarded, key).completions.create(model="200", prompt="")
    header = {b"Authorization": f"Bearer {key}".encode()}
    for path in ("/v1/models", "/v1/completions", "/metrics", "/nowhere"):
        assert httpx.get(f"{guarded.url}{path}", headers=header).status_code == 401
        assert httpx.get(f"{guarded.url}{path}").status_code == 401
    assert httpx.get(f"{guarded.url}/health").status_code == 200


def test_with_its_key_stories_follow_instructions(guarded: Running, model: Model):
    asked = {
        "words": ["boat", " kite "],
        "features": ["Twist"],
        "summary": "Lily sees\n a boat.",
        "sentence": "",
    }
    answer = client(guarded, KEY).completions.create(
        model="200", prompt="Lily", seed=2, max_tokens=9, extra_body={"instructions": asked}
    )
    before = "Words: boat, kite\nFeatures: Twist\nSummary: Lily sees a boat.\nStory: \n\n"
    (story,) = generate(model, [f"{before}Lily"], seed=2, options=Options(max_tokens=9))
    assert answer.choices[0].text == story.text


def test_the_key_is_not_in_the_log(guarded: Running):
    client(guarded, KEY).models.list()
    assert KEY not in guarded.log.read_text()


def test_pages_of_this_machine_may_use_it_where_they_are_let(guarded: Running):
    for origin, allowed in (
        ("http://localhost:8001", True),
        ("http://127.0.0.1", True),
        ("https://a.example", False),
    ):
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization, content-type"
        answer = httpx.options(f"{guarded.url}/v1/completions", headers=asks)
        assert (answer.headers.get("access-control-allow-origin") == origin) == allowed
        read = httpx.get(
            f"{guarded.url}/v1/models", headers={"Origin": origin, "Authorization": f"Bearer {KEY}"}
        )
        assert read.headers.get("access-control-allow-origin") == (origin if allowed else None)
