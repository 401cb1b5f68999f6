"""The list of seeded faults (tests/mutants): that it has not gone stale, and what the tool makes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mutants import fault_list
from mutants.fault_list import Fault

TREE = Path(__file__).resolve().parents[2]
FOLDERS = {
    "common", "schemas/sql", "worker/admin", "worker/cli", "worker/export", "worker/http", "worker/ingest",
    "worker/kafka", "worker/klaviyo", "worker/outcome", "worker/service", "worker/store", "worker/task",
}


def fault(file: str, old: str, new: str = "") -> Fault:
    return Fault(file, old, new, "a kind", "a reason")


def plant(tree: Path, name: str, text: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_every_seeded_fault_still_stands_where_it_was_meant() -> None:
    stale = {seeded.name: why for seeded in fault_list.load() if (why := fault_list.stale(seeded, TREE))}

    assert stale == {}


def test_every_test_that_a_fault_names_is_there() -> None:
    for seeded in fault_list.load():
        assert seeded.unit or seeded.integration or seeded.equivalent, seeded.name
        for name in seeded.unit:
            assert (TREE / "tests/unit" / f"{name}.c").is_file(), seeded.name
        for test in seeded.test_ids():
            path, function = test.split("::")
            assert f"def {function}(" in (TREE / path).read_text(encoding="utf-8"), seeded.name


def test_faults_are_seeded_in_every_folder_and_each_is_another() -> None:
    faults = fault_list.load()

    assert len(faults) >= 100 and sum(seeded.is_sql for seeded in faults) >= 20
    assert {str(Path(seeded.file).parent) for seeded in faults} == FOLDERS
    assert [name for name, n in Counter(seeded.name for seeded in faults).items() if n > 1] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("int one;\n", "its text stands there 0 times"),
        ("int two;\nint two;\n", "its text stands there 2 times"),
        ("int two;\n", ""),
    ],
)
def test_a_fault_is_stale_unless_its_text_stands_there_once(tmp_path: Path, text: str, why: str) -> None:
    plant(tmp_path, "common/thing.c", text)

    assert fault_list.stale(fault("common/thing.c", "int two;"), tmp_path) == why


def test_a_fault_in_a_function_that_a_later_migration_makes_anew_is_stale(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        plant(tmp_path, f"schemas/sql/000{number}_a.sql",
              f"create or replace function klaviyo.one(p integer) as $$ select {number} $$;\n")
    plant(tmp_path, "schemas/sql/0004_a.sql", "create function klaviyo.one(p text) as $$ select 4 $$;\n")

    found = [fault_list.stale(fault(f"schemas/sql/000{n}_a.sql", f"select {n}"), tmp_path) for n in (1, 2, 3, 4)]

    assert found == ["0002_a.sql redefines that function", "0003_a.sql redefines that function", "", ""]


def test_a_number_chooses_evenly_and_a_word_by_the_file() -> None:
    faults = [fault(f"common/file_{n}.c", "old") for n in range(10)]

    assert [seeded.file[-3] for seeded in fault_list.chosen(faults, 3, "")] == ["0", "3", "6"]
    assert len(fault_list.chosen(faults, None, "")) == len(fault_list.chosen(faults, 99, "")) == 10
    assert [seeded.file for seeded in fault_list.chosen(faults, None, "file_7")] == ["common/file_7.c"]
    assert fault_list.chosen(faults, 3, "nothing like it") == []
