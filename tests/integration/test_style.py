"""The rules of the house that the lint holds: what it finds, and what it must find."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import style

TREE = Path(__file__).resolve().parents[2]


def plant(tree: Path, name: str, text: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_this_tree_keeps_the_rules_of_the_house() -> None:
    assert style.complaints(TREE) == []


@pytest.mark.parametrize(
    "header",
    [
        "bool thing_do(int a);\n",
        "/* About the module. */\n\nbool thing_do(int a);\n",
        "/* About one. */\nvoid one(void);\n\nbool thing_do(int a,\n              int b);\n",
        "struct thing {\n    int a; /* of it */\n};\nbool thing_do(int a);\n",
        "struct thing *thing_do(void) MUST_USE;\n",
    ],
)
def test_a_public_function_without_a_contract_is_found(tmp_path: Path, header: str) -> None:
    plant(tmp_path, "worker/store/thing.h", header)

    (complaint,) = style.complaints(tmp_path)

    assert "thing_do() has no contract" in complaint


@pytest.mark.parametrize(
    "header",
    [
        "/* What it does. */\nbool thing_do(int a);\n",
        "/* What both\n * do. */\nbool thing_do(int a);\nbool thing_undo(int a);\n",
        "bool thing_do(int a); /* what it does */\n",
        "struct thing {\n    bool (*run)(int a);\n};\n\nextern const char thing[];\n",
        "/* A macro. */\n#define THING(a) thing(a)\n",
        "static inline int thing(void)\n{\n    return 0;\n}\n",
    ],
)
def test_a_contract_is_seen(tmp_path: Path, header: str) -> None:
    plant(tmp_path, "worker/store/thing.h", header)

    assert style.complaints(tmp_path) == []


def test_a_long_function_is_found(tmp_path: Path) -> None:
    for lines in (38, 39):
        body = "".join("    step();\n" for _ in range(lines))
        plant(tmp_path, f"common/of_{lines}.c", f"void of_{lines}(void)\n{{\n{body}}}\n")

    assert style.complaints(tmp_path) == ["common/of_39.c:2: of_39() has 41 lines, more than 40"]


def test_a_private_word_is_found_wherever_people_read(tmp_path: Path) -> None:
    plant(tmp_path, "worker/thing.c", "/* The Parcels. */\n")
    plant(tmp_path, "deploy/guide.md", "A request in the air.\n")
    plant(tmp_path, "README.md", "Let go!\n")
    plant(tmp_path, "schemas/sql/0001_old.sql", "-- a parcel\n")
    plant(tmp_path, "common/thing.h", "/* crowded, overflying */\n")

    assert style.complaints(tmp_path) == [
        "README.md:1: Let go: the field says relinquish",
        "worker/thing.c:1: Parcels: the field says batch imports",
        "deploy/guide.md:1: in the air: the field says in flight",
    ]
