#!/usr/bin/env python3
"""What one static analyser has against the C sources, each only when it changed.

    analyse.py TOOL GCC_BUILD CLANG_BUILD STAMP_DIR

TOOL is gcc-analyzer, cppcheck, scan-build or include-what-you-use; clang-tidy is lint.py's.
Product and simulator are looked at: common/, worker/, tests/simulator/. Anything found is
a failure. What is known to be none is left out here where the tool does not understand a
whole kind of code, and in the source, with its reason, where it is one place.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lint import TREE, Stamps, digest, included, object_of

# It has a fault for every tool.
FAULTY = TREE / "tests" / "support" / "faulty.c"
FOLDERS = ("common", "worker", "tests/simulator")
Entry = dict[str, str]

GCC = [
    "-O1",
    "-fanalyzer",
    # It loses what an element of an array owns whose index is a variable, and takes that for
    # a leak. LeakSanitizer looks for leaks, in every unit and integration test.
    "-Wno-analyzer-malloc-leak",
]

CPPCHECK = [
    "--quiet",
    "--std=c11",
    "--enable=warning,style,performance,portability",
    "--inline-suppr",
    "--library=posix",
    "--error-exitcode=1",
    # The macros that it has to see through: loops over lists and documents.
    "--include=/usr/include/jansson.h",
    "--include=/usr/include/x86_64-linux-gnu/sys/queue.h",
    # It knows nothing of cleanup attributes: neither that they free, nor that they read.
    "--suppress=memleak",
    "--suppress=unreadVariable",
    # Heads and entries of lists, which macros use.
    "--suppress=unusedStructMember",
    # A variable may have the name of a function that is not called there; -Wshadow decides.
    "--suppress=shadowFunction",
    # The macros of jansson ask for NULL once more than they need.
    "--suppress=redundantCondition",
    # It takes the smaller of two for the smallest that it can be.
    "--suppress=knownConditionTrueFalse",
    # Room for texts is declared first, wherever it is used.
    "--suppress=variableScope",
]

SCAN_BUILD = [
    "--status-bugs",
    "-o", f"{TREE}/build/scan-build",
    # As .clang-tidy says: cleanup attributes are not followed.
    "-disable-checker", "unix.Malloc",
    # strcpy and its like do not compile (common/banned.h); the rest of it wants Annex K.
    "-disable-checker", "security.insecureAPI.DeprecatedOrUnsafeBufferHandling",
    # clang 14 takes every va_list on x86-64 for one that was not begun.
    "-disable-checker", "valist.Uninitialized",
    # Checkers that clang-tidy does not run.
    "-enable-checker", "nullability.NullableDereferenced",
    "-enable-checker", "optin.portability.UnixAPI",
    "-enable-checker", "security.FloatLoopCounter",
    "-enable-checker", "alpha.core.BoolAssignment",
    "-enable-checker", "alpha.core.IdenticalExpr",
    "-enable-checker", "alpha.core.TestAfterDivZero",
    "-enable-checker", "alpha.deadcode.UnreachableCode",
    "-enable-checker", "alpha.security.MallocOverflow",
    "-enable-checker", "alpha.security.ReturnPtrRange",
    "-enable-checker", "alpha.unix.PthreadLock",
    "-enable-checker", "alpha.unix.Stream",
]  # fmt: skip

IWYU = [
    f"--mapping_file={TREE}/tests/support/iwyu.imp",
    # It does not see what cleanup attributes name.
    "--keep=*/json.h",
]
# An include of a source that it does not use is a finding. One that is left to a header of
# ours is none, as that brings what its interface needs; so headers themselves are not judged:
# it would take out of them what they name by pointers alone.
REMOVALS = re.compile(r"^(\S+\.c) should remove these lines:\n((?:- .*\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Tool:
    """How one source is looked at; what it printed becomes complaints."""

    compiler: str  # gcc or clang: whose build is looked at
    command: Callable[[Entry, list[str]], list[str]]
    complaint: Callable[[subprocess.CompletedProcess[str]], str]


def failed(run: subprocess.CompletedProcess[str]) -> str:
    return run.stdout + run.stderr if run.returncode != 0 else ""


def unused_includes(run: subprocess.CompletedProcess[str]) -> str:
    text = run.stdout + run.stderr
    if "error:" in text:
        return text
    return "\n".join(f"{path} does not use:\n{lines}" for path, lines in REMOVALS.findall(text))


def gcc(_entry: Entry, words: list[str]) -> list[str]:
    return [*words, *GCC]


def cppcheck(entry: Entry, words: list[str]) -> list[str]:
    known = [word for word in words if word.startswith(("-I", "-D"))]
    return ["cppcheck", *CPPCHECK, *known, entry["file"]]


def scan_build(_entry: Entry, words: list[str]) -> list[str]:
    script = '"$CC" "$@"'  # scan-build chooses it: the analyser, then the compiler
    return ["scan-build", *SCAN_BUILD, "--use-cc", words[0], "sh", "-c", script, "sh", *words[1:]]


def iwyu(_entry: Entry, words: list[str]) -> list[str]:
    plain = [word for word in words[1:] if not word.startswith("-W")]
    options = [word for option in IWYU for word in ("-Xiwyu", option)]
    return ["include-what-you-use", *options, *plain]


TOOLS = {
    "gcc-analyzer": Tool("gcc", gcc, failed),
    "cppcheck": Tool("gcc", cppcheck, failed),
    "scan-build": Tool("clang", scan_build, failed),
    "include-what-you-use": Tool("gcc", iwyu, unused_includes),
}


def compile_words(entry: Entry) -> list[str]:
    """The compiler's command, without sanitizers and with nothing to be kept."""
    words = [w for w in shlex.split(entry["command"]) if "sanitize" not in w]
    words[words.index("-o") + 1] = os.devnull
    return words


def sources(build: Path) -> dict[Path, Entry]:
    found: dict[Path, Entry] = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"]).resolve()
        ours = any(path.is_relative_to(TREE / folder) for folder in FOLDERS)
        if ours and not path.is_relative_to(build):
            found.setdefault(path, entry)
    return found


def stale(build: Path, name: str, stamps: Stamps) -> dict[Path, tuple[Entry, str]]:
    """The sources to be looked at, each with the key of a good result."""
    parts = included(build)
    chosen: dict[Path, tuple[Entry, str]] = {}
    for path, entry in sources(build).items():
        texts = [p.read_bytes() for p in sorted({path, *parts.get(object_of(entry), [])}) if p.exists()]
        key = f"{name}-" + digest([Path(__file__).read_bytes(), entry["command"].encode(), *texts])
        if not stamps.has(key):
            chosen[path] = (entry, key)
    return chosen


def is_blind(tool: Tool, build: Path) -> bool:
    """Whether it has nothing against a source that every tool must have something against."""
    entry = {"file": str(FAULTY), "command": f"{tool.compiler} -std=c17 -Werror -o x -c {FAULTY}"}
    return not look(tool, build, entry)


def look(tool: Tool, build: Path, entry: Entry) -> str:
    command = tool.command(entry, compile_words(entry))
    run = subprocess.run(command, cwd=build, capture_output=True, text=True, check=False)
    return tool.complaint(run)


def main() -> int:
    name, stamps = sys.argv[1], Stamps(Path(sys.argv[4]))
    tool = TOOLS[name]
    build = Path(sys.argv[2 if tool.compiler == "gcc" else 3]).resolve()
    if is_blind(tool, build):
        print(f"{name} finds nothing in {FAULTY}")
        return 1
    chosen = stale(build, name, stamps)
    found = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda item: look(tool, build, item[0]), chosen.values())
        for (path, (_, key)), complaint in zip(chosen.items(), results, strict=True):
            if complaint:
                found += 1
                print(f"{path.relative_to(TREE)}:\n{complaint}", flush=True)
            else:
                stamps.add(key)
    print(f"{name}: {len(sources(build))} sources, {len(chosen)} of them looked at again, {found} with findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
