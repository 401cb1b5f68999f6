"""Man page, completion and guides say what the program says."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from support.log_reference import reference
from support.paths import TREE, program

DEPLOY = TREE / "deploy"
MAN_PAGE = DEPLOY / "man" / "klaviyo-worker.1"
GUIDES = [TREE / "README.md", TREE / "CONTRIBUTING.md", *sorted(DEPLOY.glob("*.md"))]
REASONS = [
    "event_invalid",
    "list_gone",
    "key_refused",
    "key_unreadable",
    "connection_needs_attention",
    "over_profile_limit",
    "too_many_invalid",
    "size_jumped",
    "over_plan_limit",
    "list_starts_flows",
    "retry_budget_used_up",
    "source_unreadable",
    "answer_unexpected",
    "taken_over_too_often",
    "removals_withheld",
    "cancelled_by",
    "export_removed",
    "export_paused",
    "export_changed",
]
# Of runs that wait: listings say more about them than a runbook could.
WAITS = {"klaviyo_unavailable", "database_unavailable", "rate_limited", "list_in_use"}


def run(*words: str | Path, **variables: str) -> str:
    env = {"PATH": f"{program('klaviyo-worker').parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(
        list(words), capture_output=True, text=True, check=False, env={**env, **variables}
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@cache
def help_of(*words: str) -> str:
    return run(program("klaviyo-worker"), *words, "--help")


@cache
def commands() -> list[str]:
    found = re.findall(r"^  ([a-z][a-z-]*(?: [a-z][a-z-]*)?)  ", help_of(), re.MULTILINE)
    assert len(found) > 20
    return found


def options_of(command: str) -> set[str]:
    return set(re.findall(r"^  (--[a-z-]+)", help_of(*command.split()), re.MULTILINE))


def settings() -> set[str]:
    return set(re.findall(r"^  ([A-Z][A-Z_]{4,}) ", help_of("run"), re.MULTILINE))


def test_the_readme_names_every_library_of_the_build() -> None:
    packages = (DEPLOY / "packages.sh").read_text().split("BUILD_PACKAGES=(")[1].split(")")[0]
    libraries = {name for name in packages.split() if name.endswith("-dev")}
    assert len(libraries) > 6
    readme = (TREE / "README.md").read_text()
    assert {name for name in libraries if name not in readme} == set()


# -- the log -------------------------------------------------------------------

LOGGED = re.compile(
    r'\b(?:log_(?:debug|info|warn|error)\(|assignment_log\(|(?:log_at|log_event|make_line)\([^;"]*,\s+)"(\w+)"'
)
CHOSEN = re.compile(r'log_\w+\([^;"]*\? "(\w+)" : "(\w+)"')


def logged_events() -> set[str]:
    folders = (TREE / "worker", TREE / "common")
    sources = [path.read_text() for folder in folders for path in folder.rglob("*.c")]
    named = {name for text in sources for name in LOGGED.findall(text)}
    return named | {name for text in sources for pair in CHOSEN.findall(text) for name in pair}


def test_the_reference_of_the_log_has_every_event_and_no_other() -> None:
    assert len(logged_events()) > 40
    assert set(reference()) == logged_events()


# -- reference and man page ----------------------------------------------------


def test_the_reference_of_settings_is_fresh() -> None:
    wanted = run(program("settings-reference"))
    kept = (DEPLOY / "settings.md").read_text()
    assert kept == wanted, "stale: build/dev/settings-reference > deploy/settings.md"
    assert all(f"`{name}`" in kept for name in settings())


def manual() -> str:
    return MAN_PAGE.read_text().replace("\\-", "-").replace("\\&", "")


def section_of(command: str) -> str:
    page = manual().split(".SH ENVIRONMENT")[0]
    begin = re.search(rf"^\.TP\n\\fB{re.escape(command)}\\fR", page, re.MULTILINE)
    assert begin, f"{command} is not in the manual"
    rest = page[begin.end() :]
    others = [f"\\fB{other}\\fR" for other in commands() if other != command]
    ends = [at for at in (rest.find(f".TP\n{other}") for other in others) if at >= 0]
    return rest[: min(ends, default=len(rest))]


def test_the_manual_has_every_command_with_all_its_options_and_no_other() -> None:
    for command in commands():
        given = set(re.findall(r"^\\fB(--[a-z-]+)\\fR", section_of(command), re.MULTILINE))
        assert given == options_of(command), command


def test_the_manual_has_every_setting() -> None:
    environment = manual().split(".SH ENVIRONMENT")[1].split(".SH EXIT STATUS")[0]
    given = set(re.findall(r"^\.B ([A-Z_]+)$", environment, re.MULTILINE))
    assert given == settings() | {"DATABASE_URL_FILE"}


def test_the_manual_is_clean() -> None:
    done = subprocess.run(["mandoc", "-Tlint", MAN_PAGE], capture_output=True, text=True)
    assert not done.stdout, done.stdout


def test_the_examples_of_the_manual_can_be_pasted_line_by_line() -> None:
    page = re.sub(r".\x08", "", run("mandoc", "-Tascii", MAN_PAGE))
    found = re.search(r"^EXAMPLES\n(.*?)^\S", page, re.DOTALL | re.MULTILINE)
    assert found
    lines = [line.strip() for line in found[1].splitlines() if line.strip()]
    assert len(lines) > 5
    for before, line in pairwise(["", *lines]):
        assert line.startswith("klaviyo-worker ") != before.endswith("\\"), line


# -- completion ----------------------------------------------------------------

BASH = """
. {file}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_klaviyo_worker klaviyo-worker
[ "${{#COMPREPLY[@]}}" -eq 0 ] || printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
_describe() {{ print -rl -- ${{${{(P@)2}}%%:*}} }}
_files() {{ print FILES }}
_message() {{ }}
fpath=({folder} $fpath)
autoload -Uz _klaviyo-worker
complete_it() {{ local -a words; words=({words}); local CURRENT=$#words; _klaviyo-worker }}
complete_it
"""


def quoted_for_fish(words: tuple[str, ...]) -> str:
    return " ".join(words)


def complete(shell: str, *words: str) -> set[str]:
    quoted = " ".join(shlex.quote(word) for word in ("klaviyo-worker", *words))
    folder = DEPLOY / "completion"
    if shell == "bash":
        script = BASH.format(file=folder / "klaviyo-worker.bash", words=quoted)
        return set(run("bash", "--norc", "-c", script).splitlines())
    if shell == "fish":
        script = f"source {folder}/klaviyo-worker.fish; complete -C {shlex.quote(f'klaviyo-worker {quoted_for_fish(words)}')}"
        return {line.split("\t")[0] for line in run("fish", "--no-config", "-c", script).splitlines()}
    found = set(run("zsh", "-f", "-c", ZSH.format(folder=folder, words=quoted)).splitlines())
    return {word for word in found if word.startswith(words[-1])}  # as _describe would


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str) -> None:
    firsts = complete(shell, "")
    assert firsts - {"--help", "--version"} == {command.split()[0] for command in commands()}
    for group in {c.split()[0] for c in commands() if " " in c}:
        seconds = {c.split()[1] for c in commands() if c.startswith(f"{group} ")}
        assert complete(shell, group, "") - {"--help"} == seconds


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("command", ["runs list", "export add", "publish", "keygen", "migrate"])
def test_completion_knows_the_options_of_a_command(shell: str, command: str) -> None:
    assert complete(shell, *command.split(), "--") - {"--help"} == options_of(command)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_values(shell: str, tmp_path: Path) -> None:
    assert complete(shell, "export", "add", "x", "--on-leave", "") == {"keep", "remove"}
    states = {"succeeded", "succeeded_with_rejections"}
    assert complete(shell, "runs", "list", "--state", "s") == states
    (tmp_path / "secret.key").touch()
    files = complete(shell, "keygen", "--out", f"{tmp_path}/s" if shell == "bash" else "")
    assert files == ({f"{tmp_path}/secret.key"} if shell == "bash" else {"FILES"})
    assert complete(shell, "export", "add", "x", "--segment", "") == set()


# -- guides --------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", guide.read_text()):
        name, _, anchor = target.partition("#")
        path = (guide.parent / name) if name else guide
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def commands_in(text: str) -> Iterator[list[str]]:
    """What follows the program's name, in code blocks and between backticks."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    for line in [*lines, *inline]:
        # At the beginning, after a prompt, settings, or `kubectl exec … --`.
        found = re.search(r"(?:^|^\$ |-- |^[A-Z_]+=\S+ )klaviyo-worker ([^#|<>;&]*)", line)
        if found:
            words = found[1].replace("'", "").replace('"', "").split()
            yield words[2:] if words[:1] == ["--env-file"] else words


def command_of(words: list[str]) -> str | None:
    for n in (2, 1):
        if " ".join(words[:n]) in commands():
            return " ".join(words[:n])
    return None


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_command_in_a_guide_exists_with_its_options(guide: Path) -> None:
    for words in commands_in(guide.read_text()):
        command = command_of(words)
        if command is None:
            assert words[0] in {c.split()[0] for c in commands()} | {"--version", "COMMAND"}, words
            continue
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= options_of(command) | {"--help"}, words


def transcript() -> str:
    """What a reader of the README types, and what comes of it."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", (TREE / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return "".join(blocks)


def said_to(command: str) -> list[str]:
    """The lines below one command of the README, up to the next one."""
    said = transcript().split(f"$ klaviyo-worker {command}")[1].split("\n$ ")[0]
    return [line for line in said.splitlines()[1:] if line]


def test_the_run_that_the_readme_shows_is_the_one_that_its_steps_make() -> None:
    tried = int(re.findall(r"export try loyal --rows (\d+)", transcript())[0])
    judged = " ".join(said_to("export add loyal"))
    valid, members = map(int, re.findall(r"(\d+) of (\d+) members have a well-formed address", judged)[0])
    ended = re.fullmatch(
        r"run (\d+) of loyal: succeeded, (\d+) read, (\d+) invalid, (\d+) of (\d+) accepted, .* s",
        said_to("publish loyal-customers")[-1],
    )
    assert ended
    number, read, invalid, accepted, selected = map(int, ended.groups())
    heading, *rows = [line.split() for line in said_to("runs list")]
    runs = [dict(zip(heading[:3] + heading[4:], row, strict=True)) for row in rows]  # no run has a REASON

    assert [run["RUN"] for run in runs] == ["2", "1"] and number == 2, "the trial is a run, too"
    assert [int(run["ACCEPTED"]) for run in runs] == [accepted, tried]
    assert (read, invalid) == (members, members - valid) == (int(runs[0]["READ"]), int(runs[0]["INVALID"]))
    assert accepted == selected == read - invalid - tried - 1, "all but those of the trial and the other spelling"
    assert f"runs rejections {number}\n" in transcript()


def test_the_runbook_has_every_alert_and_every_reason() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts" / "klaviyo-worker.rules.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    titles = re.findall(r"^### (\w+)$", (DEPLOY / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(titles) == sorted([*alerts, *REASONS])


def test_every_reason_that_the_code_gives_is_in_the_runbook() -> None:
    sources = [*(TREE / "worker").rglob("*.c"), *(TREE / "schemas" / "sql").glob("*.sql")]
    given: set[str] = set()
    for source in sources:
        text = source.read_text()
        if source.parent.name == "export":
            given |= {name.lower() for name in re.findall(r"\bREASON_(\w+)", text)} - {"none"}
        given |= set(re.findall(r"close_run\([^;]*?'(?:failed|cancelled)', '([a-z_]+)'", text))
    assert len(given) > 5
    assert given <= {*REASONS, *WAITS}


def test_every_section_of_the_runbook_on_an_alert_says_what_to_look_at_and_what_to_do() -> None:
    text = (DEPLOY / "runbook.md").read_text()
    alerts = text.split("## Alerts")[1].split("## Reasons")[0]
    for section in alerts.split("### ")[1:]:
        assert all(word in section for word in ("**Means.**", "**Look.**", "**Do.**")), section
