"""/v1/ of a running pool, asked by OpenAI's own client, unmodified."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import numpy as np
import openai
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from tokenizers import Tokenizer

from tests.support import decoders
from tests.support.chat_page import STOP_ONCE_IT_WRITES, fill_in, shown, until_shown
from tests.support.doors import wait_for
from tests.support.openai_answers import counted, ending, refusal, told
from tests.support.stack import RunningStack
from tests.support.visitor import visitor

PROMPT = [72, 101, 108, 108, 111, 44, 32]
COUNT = 24
CHAT: Any = [{"role": "user", "content": "Hello, pool!"}]
SAMPLED: Any = {"temperature": 0.8, "seed": 11, "max_tokens": COUNT}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> decoders.Written:
    return decoders.write(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def pool(trio: RunningStack, files: decoders.Written) -> RunningStack:
    trio.manage("shell", "-v0", "-c", decoders.registered(files))
    trio.manage("shell", "-v0", "-c", decoders.registered(files, "caller", decoders.CALLING))
    return trio


@pytest.fixture(scope="module")
def talker(pool: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose texts may be so long that a page has shown one before it ends, on a slow machine, too."""
    long = decoders.write(tmp_path_factory.mktemp("long"), context=2048)
    pool.manage("shell", "-v0", "-c", decoders.registered(long, "talker"))
    return "talker"


@pytest.fixture(scope="module")
def key(pool: RunningStack) -> str:
    words = pool.manage("create_api_key", "client").stdout.split()
    return next(word for word in words if word.startswith("wp_"))


@pytest.fixture(scope="module")
def client(pool: RunningStack, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{pool.url}/v1", api_key=key, max_retries=0, timeout=180) as made:
        yield made


@pytest.fixture(scope="module")
def tokenizer(files: decoders.Written) -> Tokenizer:
    return Tokenizer.from_file(str(files.tokenizer))


def test_the_likeliest_text_is_that_of_the_uncut_decoder(
    client: openai.OpenAI, files: decoders.Written, tokenizer: Tokenizer
) -> None:
    right = decoders.greedy(files.onnx, PROMPT, COUNT)
    answer = client.completions.create(
        model="writer", prompt=PROMPT, max_tokens=COUNT, temperature=0, logprobs=2,
        extra_body={"shards": 2, "ignore_eos": True},
    )  # fmt: skip
    (choice,) = answer.choices
    assert choice.text == told(tokenizer, right)
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(PROMPT), COUNT)
    assert choice.logprobs is not None
    assert len(choice.logprobs.tokens or ()) == COUNT
    for said, likeliest in zip(
        choice.logprobs.token_logprobs or (), choice.logprobs.top_logprobs or (), strict=True
    ):
        assert said == max(likeliest.values()) < 0


def test_a_chat_is_the_same_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="writer", messages=CHAT, **SAMPLED)
    events = list(
        client.chat.completions.create(
            model="writer", messages=CHAT, stream=True, stream_options={"include_usage": True}, **SAMPLED
        )
    )  # fmt: skip
    assert events[0].choices[0].delta.role == "assistant"
    text = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert text == whole.choices[0].message.content
    assert len(events) > COUNT / 4
    assert events[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert events[-1].choices == []
    assert counted(events[-1].usage) == counted(whole.usage)
    assert {event.id for event in events} == {events[0].id}
    again = client.chat.completions.create(model="writer", messages=CHAT, **SAMPLED)
    assert again.choices[0].message.content == text


def test_the_next_turn_takes_what_is_kept_of_the_one_before(
    pool: RunningStack, client: openai.OpenAI
) -> None:
    """A conversation of its own: nobody else's caches serve it, and the text does not depend on them."""
    first = "Which is the longest river?"
    chat: Any = [{"role": "user", "content": first}]

    def ask(asking: openai.OpenAI) -> tuple[str, int]:
        answer = asking.chat.completions.create(
            model="writer", messages=chat, max_tokens=COUNT, temperature=0
        )
        usage = answer.usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached = usage.prompt_tokens_details.cached_tokens or 0
        assert cached < usage.prompt_tokens
        return answer.choices[0].message.content or "", cached

    said, cached = ask(client)
    assert cached == 0
    chat += [{"role": "assistant", "content": said}, {"role": "user", "content": "And then?"}]
    words = pool.manage("create_api_key", "another").stdout.split()
    key = next(word for word in words if word.startswith("wp_"))
    with openai.OpenAI(base_url=f"{pool.url}/v1", api_key=key, max_retries=0, timeout=180) as other:
        alone, cached = ask(other)
    assert cached == 0
    text, cached = wait_for(lambda: found if (found := ask(client))[1] else None)
    assert text == alone
    assert cached >= len(first)


def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(client: openai.OpenAI) -> None:
    asked: Any = {"model": "writer", "prompt": PROMPT, "temperature": 0, "max_tokens": COUNT}
    asked["extra_body"] = {"ignore_eos": True}
    whole = client.completions.create(**asked).choices[0].text
    stop = whole[10:13]
    ended = client.completions.create(**asked, stop=stop).choices[0]
    assert (ended.text, ended.finish_reason) == (whole[: whole.index(stop)], "stop")
    pieces = [e.choices[0].text for e in client.completions.create(**asked, stop=stop, stream=True)]
    assert "".join(pieces) == ended.text


def test_several_answers_are_drawn_each_with_a_seed_of_its_own(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="writer", prompt=["ab", "cd"], n=2, echo=True, temperature=1, seed=5, max_tokens=6
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text[:2] for choice in answer.choices] == ["ab", "ab", "cd", "cd"]
    assert answer.choices[0].text != answer.choices[1].text
    alone = client.completions.create(
        model="writer", prompt="ab", echo=True, temperature=1, seed=6, max_tokens=6
    )
    assert alone.choices[0].text == answer.choices[1].text


def test_the_asynchronous_client_streams(pool: RunningStack, key: str) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(
            base_url=f"{pool.url}/v1", api_key=key, max_retries=0, timeout=180
        ) as asking:
            streams = [
                await asking.chat.completions.create(
                    model="writer", messages=CHAT, stream=True, **SAMPLED
                )
                for _ in range(2)
            ]
            first, second = [
                "".join([event.choices[0].delta.content or "" async for event in stream])
                for stream in streams
            ]
            assert first == second
            return first

    assert asyncio.run(ask())


def test_texts_are_embedded(client: openai.OpenAI) -> None:
    texts = ["A cat sleeps.", "The kitten naps.", "Stock markets fell."]
    packed = client.embeddings.create(model="minilm", input=texts)  # base64, unless it is said
    plain = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    vectors = np.array([one.embedding for one in plain.data])
    assert np.allclose(vectors, [one.embedding for one in packed.data])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert packed.usage.prompt_tokens > 3 * len(texts)
    with pytest.raises(openai.BadRequestError, match="at most 256 tokens"):
        client.embeddings.create(model="minilm", input=["word " * 300])


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} >= {"caller", "minilm", "writer"}
    assert client.models.retrieve("writer").owned_by == "webpool"


def test_what_cannot_be_is_refused_by_its_name(client: openai.OpenAI) -> None:
    chat, text = client.chat.completions.create, client.completions.create
    asked: Any = {"model": "writer", "messages": CHAT}
    bad = openai.BadRequestError
    assert refusal(bad, chat, **asked, temperature=3)["param"] == "temperature"
    assert refusal(bad, chat, **asked, logit_bias={"512": 1})["param"] == "logit_bias"
    assert refusal(bad, chat, **asked, tools=[{"type": "function"}])["param"] == "tools"
    assert refusal(bad, chat, **asked, functions=[{"name": "f"}])["param"] == "functions"
    assert refusal(bad, chat, **asked, max_tokens=300)["code"] == "context_length_exceeded"
    assert refusal(bad, chat, **asked, extra_body={"colour": 1})["param"] == "colour"
    assert refusal(bad, chat, **{**asked, "model": "minilm"})["code"] == "model_not_supported"
    assert refusal(bad, text, model="writer", prompt="x" * 300)["param"] == "prompt"
    assert refusal(bad, text, model="writer", prompt="")["param"] == "prompt"
    assert refusal(openai.NotFoundError, chat, **{**asked, "model": "no"})["param"] == "model"
    assert refusal(bad, chat, **asked, extra_body={"shards": 9})["param"] == "shards"
    gone = refusal(openai.NotFoundError, chat, **asked, extra_body={"browsers": "netscape"})
    assert gone["param"] == "browsers"


def test_an_answer_has_the_form_that_was_asked_for(client: openai.OpenAI) -> None:
    schema: Any = {
        "type": "object",
        "properties": {"kind": {"enum": ["round", "square"]}, "size": {"type": "integer", "maximum": 99}},
        "required": ["kind", "size"],
        "additionalProperties": False,
    }  # fmt: skip
    form: Any = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    asked: Any = {"model": "writer", "messages": CHAT, "extra_body": {"shards": 2}}
    for seed in range(2):
        answer = client.chat.completions.create(
            **asked, response_format=form, temperature=1, seed=seed, max_tokens=200
        )
        assert answer.choices[0].finish_reason == "stop"
        jsonschema_rs.validate(schema, json.loads(answer.choices[0].message.content or ""))
    form["json_schema"]["schema"] = {"not": {}}
    error = refusal(
        openai.BadRequestError, client.chat.completions.create, **asked, response_format=form
    )
    assert error["param"] == "response_format"


def test_a_tool_is_called_with_right_arguments_and_answered(client: openai.OpenAI) -> None:
    sides: Any = {"type": "object", "properties": {"side": {"enum": ["left", "right"]}}}
    sides |= {"required": ["side"], "additionalProperties": False}
    tools: Any = [{"type": "function", "function": {"name": "turn", "parameters": sides}}]
    asked: Any = {"model": "caller", "tools": tools, "temperature": 1, "seed": 4, "max_tokens": 150}
    asked |= {"tool_choice": "required", "parallel_tool_calls": False}
    create = client.chat.completions.create
    choice: Any = create(messages=CHAT, **asked).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    assert call.function.name == "turn"
    arguments = call.function.arguments
    assert json.loads(arguments)["side"] in ("left", "right")
    events: Any = list(create(messages=CHAT, stream=True, **asked))
    deltas = [event.choices[0].delta for event in events]
    told = [one.function for delta in deltas for one in delta.tool_calls or ()]
    assert [(one.name, one.arguments) for one in told if one] == [("turn", arguments)]
    assert not any(delta.content for delta in deltas)
    assert events[-1].choices[0].finish_reason == "tool_calls"
    answered: Any = [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    later: Any = create(
        model="caller", messages=[*CHAT, *answered], tools=tools, max_tokens=5, seed=1
    )
    assert later.usage.completion_tokens == 5
    bad = refusal(openai.BadRequestError, create, model="writer", messages=CHAT, tools=tools)
    assert bad["param"] == "tools"


@pytest.fixture
def person(pool: RunningStack, talker: str, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Somebody who is logged in to the admin, and looks at the chat page."""
    code = (
        "from django.contrib.auth.models import User; from django.test import Client;"
        "user, _ = User.objects.get_or_create(username='talker', is_staff=True); c = Client();"
        "c.force_login(user); print(c.cookies['sessionid'].value)"
    )
    cookie = pool.manage("shell", "-v0", "-c", code).stdout.strip()
    with visitor(tmp_path / "profile") as page:
        page.get(f"{pool.url}/static/inference/chat.css")
        page.add_cookie({"name": "sessionid", "value": cookie})
        page.get(f"{pool.url}/admin/chat/?model={talker}")
        yield page
        errors = [e for e in page.get_log("browser") if e["level"] == "SEVERE"]
        assert [e for e in errors if "favicon.ico" not in e["message"]] == []


def test_a_person_chats_and_sees_where_it_is_written(
    pool: RunningStack, client: openai.OpenAI, person: webdriver.Chrome
) -> None:
    browsers = pool.browsers.split(",")
    shards = str(len(browsers))
    fill_in(person, text=CHAT[0]["content"], temperature="0", max_tokens="1000", shards=shards)
    person.find_element(By.ID, "chat-send").click()
    until_shown(person, "chat-state", "it writes")
    until_shown(person, "chat-stages", *browsers)
    os.kill(pool.pid(f"browser.{browsers[-1]}"), signal.SIGKILL)
    until_shown(person, "chat-state", "done")
    right = client.chat.completions.create(
        model="talker", messages=CHAT, temperature=0, max_tokens=1000
    )
    answer = person.find_elements(By.CSS_SELECTOR, "#chat-log .wc-said")[-1]
    assert answer.get_attribute("textContent") == right.choices[0].message.content
    assert right.usage is not None
    assert int(shown(person, "chat-tokens")) in range(1, right.usage.completion_tokens + 1)
    assert "tokens/s" in shown(person, "chat-speed")
    assert f"{right.usage.prompt_tokens} tokens" in shown(person, "chat-prompt")
    until_shown(person, "chat-recoveries", f"from {browsers[-1]} to ", "there again after")


def test_a_person_stops_a_text(pool: RunningStack, person: webdriver.Chrome) -> None:
    fill_in(person, text="go on", temperature="1", seed="3", max_tokens="1000")
    person.execute_script(STOP_ONCE_IT_WRITES)
    person.find_element(By.ID, "chat-send").click()
    until_shown(person, "chat-state", "stopped")
    code = "from inference.models import GenerationSession as S; print(S.objects.first().pk)"
    session = pool.manage("shell", "-v0", "-c", code).stdout.strip()
    assert ending(pool, session) == "cancelled"
    assert person.find_element(By.ID, "chat-send").is_enabled()


def test_a_key_is_needed(pool: RunningStack) -> None:
    with (
        openai.OpenAI(base_url=f"{pool.url}/v1", api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_a_caller_that_leaves_takes_its_session_with_it(pool: RunningStack, key: str) -> None:
    asked = {"model": "writer", "messages": CHAT, "stream": True, "ignore_eos": True}
    with (
        httpx2.Client(headers={"Authorization": f"Bearer {key}"}, timeout=180) as http,
        http.stream("POST", f"{pool.url}/v1/chat/completions", json=asked) as answer,
    ):
        first = next(line for line in answer.iter_lines() if line.startswith("data: "))
        session = json.loads(first[6:])["id"].removeprefix("chatcmpl-")
    assert ending(pool, session) == "cancelled"


def test_a_lost_browser_is_a_pause_and_the_text_stays_the_same(
    pool: RunningStack, client: openai.OpenAI, key: str
) -> None:
    pool.wait_ready()  # a person's chat has lost one
    browsers = pool.browsers.split(",")
    asked: Any = {"model": "writer", "prompt": PROMPT, "temperature": 0, "max_tokens": 200}
    more = {"ignore_eos": True, "shards": len(browsers)}
    right = client.completions.create(**asked, extra_body=more).choices[0].text
    events, comments = [], []
    with (
        httpx2.Client(headers={"Authorization": f"Bearer {key}"}, timeout=180) as http,
        http.stream(
            "POST", f"{pool.url}/v1/completions", json={**asked, **more, "stream": True}
        ) as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                events.append(json.loads(line[6:]))
            elif line.startswith(":"):
                comments.append(line)
            if len(events) == 1 and not comments and line:
                os.kill(pool.pid(f"browser.{browsers[-1]}"), signal.SIGKILL)
    assert [comment.split(":")[1].strip() for comment in comments] == ["paused", "resumed"]
    assert "".join(event["choices"][0]["text"] for event in events) == right
