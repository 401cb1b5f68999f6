"""The borders between the folders: what the lint finds, and what it must find."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support import borders

TREE = Path(__file__).resolve().parents[2]
FOLDERS = [folder for folder in borders.ALLOWED if folder != "worker"]
FORBIDDEN = [
    (folder, other)
    for folder in FOLDERS
    for other in FOLDERS
    if folder != other and other not in borders.ALLOWED[folder]
]


def plant(tree: Path, name: str, text: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_this_tree_has_no_step_over_a_border() -> None:
    assert borders.complaints(TREE, None) == []


@pytest.mark.parametrize(("folder", "other"), FORBIDDEN)
def test_each_forbidden_step_is_found(tmp_path: Path, folder: str, other: str) -> None:
    plant(tmp_path, f"{other}/thing.h", "")
    plant(tmp_path, f"{folder}/wrong.c", f'#include "{other}/thing.h"\n')

    assert borders.complaints(tmp_path, None) == [
        f"{folder}/wrong.c:1: {folder} may not include {other} ({other}/thing.h)"
    ]


@pytest.mark.parametrize("header", sorted(borders.OWNERS))
def test_a_library_has_its_folders(tmp_path: Path, header: str) -> None:
    plant(tmp_path, "common/wrong.c", f"#include <{header}>\n")

    (complaint,) = borders.complaints(tmp_path, None)

    assert complaint.startswith("common/wrong.c:1: only ") and header in complaint


def test_a_new_folder_needs_a_row_in_the_table(tmp_path: Path) -> None:
    plant(tmp_path, "worker/new/thing.c", "")

    assert borders.complaints(tmp_path, None) == [
        "worker/new: not in the table of tests/support/borders.py"
    ]


def build(tree: Path, folder: str, sources: dict[str, str]) -> Path:
    objects = tree / "build" / folder / "CMakeFiles" / "x.dir"
    objects.mkdir(parents=True)
    for name, text in sources.items():
        plant(tree, f"{folder}/{name}.c", text)
        subprocess.run(
            ["cc", "-c", tree / folder / f"{name}.c", "-o", objects / f"{name}.c.o"], check=True
        )
    return tree / "build"


def test_a_circle_of_calls_is_found(tmp_path: Path) -> None:
    call = "void {0}(void);\nvoid {1}(void);\nvoid {0}(void) {{ {1}(); }}\n"
    out = build(
        tmp_path,
        "worker/store",
        {
            "a": call.format("a", "b"),
            "b": call.format("b", "c"),
            "c": call.format("c", "a"),
            "d": call.format("d", "a"),
        },
    )

    assert borders.complaints(tmp_path, out) == [
        "a circle of calls: worker/store/a.c worker/store/b.c worker/store/c.c"
    ]
