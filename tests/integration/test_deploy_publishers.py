"""The examples for publishers, run as they stand in the guide."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support import people
from support.kafka_broker import class_path
from support.paths import TREE
from support.world import LIST, SEGMENT, World

GUIDE = TREE / "deploy" / "publishers.md"
NAMES = {"python": "publish.py", "sh": "publish.sh", "java": "Publish.java"}
LISTENERS = {"python": "listen.py", "sh": "listen.sh", "java": "Listen.java"}


def example(language: str, folder: Path, listens: bool = False) -> Path:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2, "one that publishes, one that listens"
    path = folder / (LISTENERS if listens else NAMES)[language]
    path.write_text(blocks[listens])
    return path


def command(language: str, path: Path) -> list[str]:
    interpreters = {
        "python": [sys.executable],
        "sh": ["sh", "-eu"],
        "java": ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", class_path()],
    }
    return [*interpreters[language], str(path)]


def publish(world: World, language: str, folder: Path, refresh: str) -> None:
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": world.kafka.address,
        "KAFKA_TOPIC": world.topic,
    }
    words = [*command(language, example(language, folder)), SEGMENT, refresh]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def listen(world: World, language: str, folder: Path, refresh: str) -> tuple[int, str]:
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": world.kafka.address,
        "KAFKA_OUTCOME_TOPIC": world.outcome_topic,
    }
    words = [*command(language, example(language, folder, listens=True)), SEGMENT, refresh]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done
    return done.returncode, done.stdout


@pytest.mark.parametrize("language", sorted(LISTENERS))
def test_an_example_of_the_guide_hears_how_a_refresh_ended(
    world: World, tmp_path: Path, language: str
) -> None:
    world.turn_on_outcomes()
    world.set_up_export(people.simple(20))
    world.start_worker()
    world.refresh(refresh_id="good")
    world.wait_runs_ended(1)
    world.simulator.remove_list(LIST)
    world.refresh(refresh_id="bad", full=True)
    world.wait_runs_ended(2)

    failed, said = listen(world, language, tmp_path, "bad")
    assert failed == 1 and "failed" in said
    exported, said = listen(world, language, tmp_path, "good")
    assert exported == 0 and "succeeded" in said


@pytest.mark.parametrize("language", sorted(NAMES))
def test_an_example_of_the_guide_fills_the_list(
    world: World, tmp_path: Path, language: str
) -> None:
    world.set_up_export(people.simple(50))
    world.start_worker()
    publish(world, language, tmp_path, "refresh-1")
    (run,) = world.wait_runs_ended()
    assert run["state"] == "succeeded"
    assert run["events"] == 1
    assert len(world.simulator.members(LIST)) == 50
    world.wait_all_committed()


def test_an_event_that_an_example_repeats_is_no_new_work(world: World, tmp_path: Path) -> None:
    world.set_up_export(people.simple(10))
    world.start_worker()
    for _ in range(2):
        publish(world, "python", tmp_path, "refresh-1")
        world.wait_runs_ended()
    world.wait_all_committed()
    assert len(world.runs()) == 1


EVENTS = TREE / "schemas" / "events"
# JSON Schema knows no calendar.
BEYOND_A_SCHEMA = {"refreshed_at-no-such-day.json"}


@pytest.mark.parametrize("folder", ["valid", "invalid"])
def test_the_schema_says_of_every_example_what_the_worker_says(folder: str) -> None:
    schema = json.loads((EVENTS / "segment-refreshed.v1.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    examples = [p for p in (EVENTS / folder).glob("*.json") if p.name not in BEYOND_A_SCHEMA]
    assert len(examples) >= 8
    for path in examples:
        assert validator.is_valid(json.loads(path.read_text())) is (folder == "valid"), path.name


def test_the_description_for_tools_is_whole_and_its_examples_are_valid() -> None:
    schemas = TREE / "schemas"
    described = yaml.safe_load((schemas / "asyncapi.yaml").read_text())
    references = re.findall(r"\$ref: '?(#?[^'\n]+)'?", (schemas / "asyncapi.yaml").read_text())
    for reference in references:
        found: Any = described
        if not reference.startswith("#"):
            assert (schemas / reference).is_file(), reference
            continue
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    data = json.loads((EVENTS / "segment-export.v1.schema.json").read_text())
    headers = described["components"]["schemas"]["outcomeHeaders"]
    headers["properties"]["traceparent"] = described["components"]["schemas"]["traceparent"]
    (outcome,) = described["components"]["messages"]["segmentExported"]["examples"]
    jsonschema.validate(outcome["payload"], data, jsonschema.Draft202012Validator)
    jsonschema.validate(outcome["headers"], headers, jsonschema.Draft202012Validator)


def traceparents() -> list[tuple[str, bool]]:
    """Of the parser's own unit test: texts, and whether each is one."""
    source = (TREE / "tests" / "unit" / "test_traceparent.c").read_text()
    texts = {"NULL": ""}

    def text_of(words: str) -> str:
        parts = re.findall(r'"(?:[^"\\]|\\.)*"|\w+', words)
        return "".join(json.loads(part) if part[0] == '"' else texts[part] for part in parts)

    for name, words in re.findall(r"^#define (TAIL|TRACE|ZEROS) (.*)$", source, re.MULTILINE):
        texts[name] = text_of(words)
    cases = source[source.index("cases[] = {") : source.index("};")]
    return [
        (text_of(text), kept != "NULL")
        for text, kept in re.findall(r"^ +\{ (.*), (.*) \},$", cases, re.MULTILINE)
    ]


def test_the_description_for_tools_takes_for_a_traceparent_what_the_worker_does() -> None:
    described = yaml.safe_load((TREE / "schemas" / "asyncapi.yaml").read_text())
    schema = described["components"]["schemas"]["traceparent"]
    validator = jsonschema.Draft202012Validator(schema)
    cases = traceparents()
    assert len(cases) > 15 and {is_one for _, is_one in cases} == {True, False}
    for text, is_one in cases:
        assert validator.is_valid(text) is is_one, text


def test_the_recipe_for_a_chat_is_a_connector() -> None:
    (recipe,) = re.findall(r"^```json\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    config = json.loads(recipe)["config"]
    assert config["topics"] == "segment-export"
    assert all(isinstance(value, str) for value in config.values()), "Connect takes text only"


def test_the_description_for_tools_names_every_reason_of_a_dead_letter() -> None:
    described = yaml.safe_load((TREE / "schemas" / "asyncapi.yaml").read_text())
    letter = described["components"]["messages"]["deadLetter"]["headers"]["properties"]
    states = (TREE / "worker" / "store" / "run_state.h").read_text()
    failures = states[states.index("REASON_LIST_GONE") : states.index("REASON_REMOVALS_WITHHELD")]
    reasons = {name.lower() for name in re.findall(r"REASON_(\w+)", failures)}
    assert set(letter["x-klaviyo-worker-reason"]["enum"]) == reasons | {"event_invalid"}
    built = (TREE / "worker" / "ingest" / "dead_letter.c").read_text()
    ours = set(re.findall(r"\"(x-klaviyo-worker-[a-z-]+)\"", built))
    assert ours <= letter.keys(), ours - letter.keys()
