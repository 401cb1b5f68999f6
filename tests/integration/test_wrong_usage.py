"""Every command, wrongly used: one sentence, exit 1 or 2, nothing changed."""

from __future__ import annotations

from typing import Any

import pytest

from support import people
from support.world import CONNECTION, EXPORT, KEY, LIST, SEGMENT, World

FAILED, USAGE = 1, 2

ADD = ["connection", "add", "second", "--api-key-file", "-", "--agree-to-data-transfer"]
EXPORT_ADD = [
    "export", "add", "second", "--connection", CONNECTION, "--list", LIST, "--segment", SEGMENT,
    "--email-field", "email",
]  # fmt: skip
UPDATE = ["export", "update", EXPORT]


def without(words: list[str], option: str, values: int = 1) -> list[str]:
    at = words.index(option)
    return words[:at] + words[at + 1 + values :]


def instead(words: list[str], option: str, value: str) -> list[str]:
    at = words.index(option)
    return [*words[: at + 1], value, *words[at + 2 :]]


# Words, standard input, exit status, what the sentence must speak of.
CASES: list[tuple[list[str], str, int, str]] = [
    # nothing, too much, misspelled
    ([], "", USAGE, "--help"),
    (["conection", "list"], "", USAGE, "connection"),
    (["connection"], "", USAGE, "connection --help"),
    (["connection", "lst"], "", USAGE, "lst"),
    (["connection", "list", "more"], "", USAGE, "more"),
    (["connection", "list", "--jsn"], "", USAGE, "--json"),
    (["connection", "list", "--json=yes"], "", USAGE, "--json"),
    (["connection", "list", "--json", "--json"], "", USAGE, "twice"),
    (["connection", "list", "-j"], "", USAGE, "-j"),
    (["run", "now"], "", USAGE, "now"),
    (["migrate", "--force"], "", USAGE, "--force"),
    (["check", "all"], "", USAGE, "all"),
    # keygen
    (["keygen"], "", USAGE, "--out"),
    (["keygen", "--out"], "", USAGE, "FILE"),
    (["keygen", "--out", ""], "", USAGE, "--out"),
    (["keygen", "--out", "{folder}/another.key"], "", FAILED, "--replace"),
    (["keygen", "--out", "{folder}/secret.key", "--replace"], "", FAILED, "secret.key"),
    (["keygen", "--out", "{folder}/no/such/folder/k", "--replace"], "", FAILED, "no/such/folder"),
    # connections
    (without(ADD, "--agree-to-data-transfer", 0), KEY, USAGE, "--agree-to-data-transfer"),
    (without(ADD, "--api-key-file"), KEY, USAGE, "--api-key-file"),
    (without(ADD, "second", 0), KEY, USAGE, "NAME"),
    ([*ADD, "third"], KEY, USAGE, "third"),
    (instead(ADD, "--api-key-file", "/does/not/exist"), "", FAILED, "/does/not/exist"),
    (instead(ADD, "--api-key-file", "/dev/zero"), "", FAILED, "/dev/zero"),
    (instead(ADD, "--api-key-file", "{folder}"), "", FAILED, "{folder}"),
    (ADD, "", FAILED, "empty"),
    (ADD, " \n", FAILED, "empty"),
    (ADD, "AbC123\n", FAILED, "public"),
    (ADD, "sk_0123456789abcdef", FAILED, "pk_"),
    (ADD, "pk_two words", FAILED, "blanks"),
    (ADD, "pk_" + "x" * 600, FAILED, "bytes"),
    (ADD, "pk_nobody_knows_this", FAILED, "nothing was stored"),
    (instead(ADD, "add", CONNECTION), KEY, FAILED, "already"),
    (instead(ADD, "add", ""), KEY, USAGE, "empty"),
    (instead(ADD, "add", " x"), KEY, USAGE, "blank"),
    (instead(ADD, "add", "a\nb"), KEY, USAGE, "control"),
    (instead(ADD, "add", "a\x1b[31mb"), KEY, USAGE, "control"),
    (instead(ADD, "add", "ü" * 201), KEY, USAGE, "200"),
    (["connection", "show"], "", USAGE, "NAME"),
    (["connection", "show", "nobody"], "", FAILED, "nobody"),
    (["connection", "verify", "nobody"], "", FAILED, "nobody"),
    (["connection", "grant", CONNECTION], "", USAGE, "ROLE"),
    (["connection", "grant", "nobody", "postgres"], "", FAILED, "nobody"),
    (["connection", "grant", CONNECTION, "no_such_role"], "", FAILED, "no_such_role"),
    (["connection", "revoke", "nobody", "postgres"], "", FAILED, "nobody"),
    (["connection", "revoke", CONNECTION, "postgres"], "", FAILED, "not granted"),
    (["connection", "rotate-key", CONNECTION], "", USAGE, "--api-key-file"),
    (["connection", "rotate-key", "nobody", "--api-key-file", "-"], KEY, FAILED, "nobody"),
    (["connection", "rotate-key", CONNECTION, "--api-key-file", "-"], "{other}", FAILED, "AcctB2"),
    (["connection", "remove", CONNECTION], "", FAILED, EXPORT),
    (["connection", "remove", "nobody"], "", FAILED, "nobody"),
    # what is nearly right is helped with
    (["connection", "show", "mian"], "", FAILED, f"did you mean {CONNECTION}?"),
    (["connection", "verify", "Main"], "", FAILED, f"did you mean {CONNECTION}?"),
    (["connection", "lists", "maim"], "", FAILED, f"did you mean {CONNECTION}?"),
    (["connection", "remove", "mainn"], "", FAILED, f"did you mean {CONNECTION}?"),
    (["connection", "rotate-key", "man", "--api-key-file", "-"], KEY, FAILED, f"did you mean {CONNECTION}?"),
    (["connection", "grant", "mains", "postgres"], "", FAILED, f"did you mean {CONNECTION}?"),
    (["connection", "update", "maain", "--share", "50%"], "", FAILED, f"did you mean {CONNECTION}?"),
    (instead(EXPORT_ADD, "--connection", "mani"), "", FAILED, f"did you mean {CONNECTION}?"),
    (["export", "show", "newsleter"], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "pause", "newletter"], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "resume", "news-letter"], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "remove", "Newsletters"], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "update", "newsletetr", "--list", LIST], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "preview", "newslettr"], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "try", "newsleetter", "--rows", "5"], "", FAILED, f"did you mean {EXPORT}?"),
    (["export", "verify", "newsletterr"], "", FAILED, f"did you mean {EXPORT}?"),
    (["publish", "--export", "newlsetter"], "", FAILED, f"did you mean {EXPORT}?"),
    (["publish", "big-spender"], "", FAILED, f"did you mean {SEGMENT}?"),
    (["segment", "fields", "big-spnders"], "", FAILED, f"did you mean {SEGMENT}?"),
    (["segment", "fields", "nothing-like-it"], "", FAILED, "segment list"),
    (["segment", "fields"], "", USAGE, "SEGMENT"),
    (["segment", "fields", ""], "", USAGE, "empty"),
    (["segment", "filds", SEGMENT], "", USAGE, "filds"),
    (["export", "try", EXPORT], "", USAGE, "--rows"),
    (["export", "try", EXPORT, "--rows", "0"], "", USAGE, "--rows"),
    (["export", "try", EXPORT, "--rows", "101"], "", USAGE, "--rows"),
    (["export", "try", EXPORT, "--rows", "5", "--profile", "p"], "", USAGE, "--profile"),
    (["export", "try", EXPORT, "--profile"], "", USAGE, "ID"),
    (["export", "try", EXPORT, "--profile", "nobody"], "", FAILED, "nobody"),
    (["export", "try", EXPORT, "--row", "5"], "", USAGE, "--rows"),
    (["export", "preview", EXPORT, "--shw"], "", USAGE, "--show"),
    (["connection", "lists"], "", USAGE, "NAME"),
    (["connection", "lists", CONNECTION, "--size"], "", USAGE, "--sizes"),
    # exports
    (without(EXPORT_ADD, "--connection"), "", USAGE, "--connection"),
    (without(EXPORT_ADD, "--list"), "", USAGE, "--list"),
    (without(EXPORT_ADD, "--segment"), "", USAGE, "--segment"),
    (without(EXPORT_ADD, "--email-field"), "", USAGE, "--email-field"),
    (instead(EXPORT_ADD, "--connection", "nobody"), "", FAILED, "ask an administrator"),
    (instead(EXPORT_ADD, "--list", "https://klaviyo.com/list/X"), "", USAGE, "--list"),
    (instead(EXPORT_ADD, "--list", ""), "", USAGE, "--list"),
    (instead(EXPORT_ADD, "--segment", ""), "", USAGE, "segment"),
    (instead(EXPORT_ADD, "--segment", "s" * 201), "", USAGE, "200"),
    (instead(EXPORT_ADD, "--email-field", "a..b"), "", USAGE, "--email-field"),
    (instead(EXPORT_ADD, "--email-field", ".a"), "", USAGE, "--email-field"),
    (instead(EXPORT_ADD, "add", EXPORT), "", FAILED, "already"),
    ([*EXPORT_ADD, "--on-leave", "forget"], "", USAGE, "forget"),
    ([*EXPORT_ADD, "--max-profiles", "0"], "", USAGE, "--max-profiles"),
    ([*EXPORT_ADD, "--max-profiles", "-5"], "", USAGE, "--max-profiles"),
    ([*EXPORT_ADD, "--max-profiles", "1e6"], "", USAGE, "--max-profiles"),
    ([*EXPORT_ADD, "--max-profiles", "99999999999999999999"], "", USAGE, "--max-profiles"),
    ([*EXPORT_ADD, "--max-invalid", "101"], "", USAGE, "--max-invalid"),
    ([*EXPORT_ADD, "--max-invalid", "2.5"], "", USAGE, "2.5"),
    ([*EXPORT_ADD, "--max-invalid", "-1"], "", USAGE, "--max-invalid"),
    ([*EXPORT_ADD, "--size-guard", "maybe"], "", USAGE, "on or off"),
    ([*EXPORT_ADD, "--plan", "halt"], "", USAGE, "stop, warn or ignore"),
    ([*EXPORT_ADD, "--attribute", "first_name"], "", USAGE, "NAME=FIELD"),
    ([*EXPORT_ADD, "--attribute", "firstname=x"], "", USAGE, "first_name"),
    ([*EXPORT_ADD, "--attribute", "city=x"], "", USAGE, "location.city"),
    ([*EXPORT_ADD, "--attribute", "location.cty=x"], "", USAGE, "location.city"),
    ([*EXPORT_ADD, "--attribute", "shoe_size=x"], "", USAGE, "--property shoe_size"),
    ([*EXPORT_ADD, "--attribute", "email=x"], "", USAGE, "--email-field"),
    ([*EXPORT_ADD, "--attribute", "phone_number=x"], "", USAGE, "--allow-phone-number"),
    ([*EXPORT_ADD, "--property", "$consent=x"], "", USAGE, "names that begin with $"),
    ([*EXPORT_ADD, "--attribute", "first_name="], "", USAGE, "path"),
    ([*EXPORT_ADD, "--attribute", "title=a", "--attribute", "title=b"], "", USAGE, "twice"),
    ([*EXPORT_ADD, "--property", "=x"], "", USAGE, "empty"),
    ([*EXPORT_ADD, "--property", "p=a", "--property", "p=b"], "", USAGE, "twice"),
    ([*EXPORT_ADD, "--colour", "red"], "", USAGE, "--colour"),
    (["export", "show", "nobody"], "", FAILED, "nobody"),
    (UPDATE, "", USAGE, "option"),
    ([*UPDATE, "--list"], "", USAGE, "LIST_ID"),
    ([*UPDATE, "--list", "no good"], "", USAGE, "--list"),
    ([*UPDATE, "--connection", "nobody"], "", FAILED, "nobody"),
    ([*UPDATE, "--on-leave", "drop"], "", USAGE, "keep or remove"),
    (["export", "update", "nobody", "--list", LIST], "", FAILED, "nobody"),
    (["export", "preview", "nobody"], "", FAILED, "nobody"),
    (["export", "pause", "nobody"], "", FAILED, "nobody"),
    (["export", "resume", "nobody"], "", FAILED, "nobody"),
    (["export", "remove"], "", USAGE, "NAME"),
    (["export", "remove", "nobody"], "", FAILED, "nobody"),
    (["export", "remove", EXPORT, "nobody"], "", USAGE, "nobody"),
    # publish, runs, dead letters, audit
    (["publish"], "", USAGE, "--export"),
    (["publish", "no-such-segment"], "", FAILED, "no-such-segment"),
    (["publish", SEGMENT, "no-such-segment"], "", FAILED, "no-such-segment"),
    (["publish", "--export", "nobody"], "", FAILED, "nobody"),
    (["publish", "--export", EXPORT, SEGMENT], "", USAGE, "--export"),
    (["publish", SEGMENT, "--confirm", "size_jmped"], "", USAGE, "did you mean size_jumped?"),
    (["publish", SEGMENT, "--confirm", "everything"], "", USAGE, "over_plan_limit"),
    (["publish", SEGMENT, "--confirm"], "", USAGE, "GUARD"),
    (["publish", SEGMENT, "--confirm", ""], "", USAGE, "--confirm"),
    (["runs", "list", "--state", "done"], "", USAGE, "succeeded"),
    (["runs", "list", "--limit", "none"], "", USAGE, "--limit"),
    (["runs", "list", "--limit", "0"], "", USAGE, "--limit"),
    (["runs", "show", "first"], "", USAGE, "first"),
    (["runs", "show", "0"], "", USAGE, "0"),
    (["runs", "show", "4711"], "", FAILED, "4711"),
    (["runs", "watch", "4711"], "", FAILED, "4711"),
    (["runs", "cancel"], "", USAGE, "ID"),
    (["runs", "cancel", "4711"], "", FAILED, "4711"),
    (["runs", "rejections", "4711"], "", FAILED, "4711"),
    (["dead-letters", "replay", "--reason"], "", USAGE, "REASON"),
    (["dead-letters", "remove"], "", USAGE, "remove"),
    (["audit", "list", "--export", "a", "--connection", "b"], "", USAGE, "exclude"),
]

SETTINGS = ["key_pair", "connection", "connection_key", "export", "export_segment", "export_field",
            "connection_grant", "run", "audit"]  # fmt: skip


@pytest.fixture
def settled(world: World) -> World:
    world.set_up_export(people.simple(1))
    world.simulator.add_account("AcctB2")
    world.simulator.add_key(KEY + "B2", "AcctB2")
    return world


def state_of(world: World) -> dict[str, Any]:
    return {t: world.db.rows(f"select t::text from klaviyo.{t} t order by 1") for t in SETTINGS}


def test_one_sentence_and_nothing_changed(settled: World) -> None:
    world = settled
    before = state_of(world)
    places = {"folder": str(world.folder), "other": KEY + "B2"}
    complaints = []

    for words, stdin, status, speaks_of in CASES:
        filled = [word.format(**places) if "{" in word else word for word in words]
        given = stdin.format(**places) if stdin.startswith("{") else stdin
        result = world.command(*filled, stdin=given)
        about = speaks_of.format(**places)
        one_line = result.stderr.count("\n") == 1 and result.stderr.startswith("klaviyo-worker: ")
        secret = given.strip() if len(given.strip()) > 8 else None
        shown = secret is not None and secret in result.stderr + result.stdout
        if result.rc != status or about not in result.stderr or not one_line or shown:
            complaints.append((words, result))

    assert not complaints, "\n".join(map(str, complaints))
    assert state_of(world) == before
    assert world.end() == 0


def test_long_names_and_odd_ones_are_fine(settled: World) -> None:
    for name in ("ü" * 200, 'O\'Neil & "Söhne" %s ; drop table', "-- x", "名前"):
        settled.admin(
            "export", "add", "--connection", CONNECTION, "--list", LIST, "--segment", "s'\"\\{},",
            "--email-field", "email", "--property", "a b=x.y", "--", name,
        )  # fmt: skip
        shown = settled.admin("export", "show", "--json", "--", name).json
        assert shown["name"] == name
        assert shown["segments"] == ["s'\"\\{},"] and shown["properties"] == {"a b": "x.y"}
        settled.admin("export", "remove", "--", name)
