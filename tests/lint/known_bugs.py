#!/usr/bin/env python3
"""Checks that the table "Known bugs of others" of docs/consensus.md has its 35 rows, and that every test it names exists.

usage: known_bugs.py ROOT      exit code 1 and one line for each offence
       known_bugs.py --self-test
"""
import os
import re
import sys

ROWS = 35


def tests_of(root):
    """`Suite.Name` of every unit test, `file.py::function` of every Python test, `file.txt` of every scenario."""
    names = set()
    for folder, _, files in os.walk(os.path.join(root, "tests")):
        for file in files:
            if file.endswith(".cc") or file.endswith(".py"):
                with open(os.path.join(folder, file), encoding="utf-8") as f:
                    text = f.read()
                for suite, name in re.findall(r"^\s*TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", text, re.M):
                    names.add(f"{suite}.{name}")
                for name in re.findall(r"^def (test_\w+)", text, re.M):
                    names.add(f"{file}::{name}")
            elif file.endswith(".txt") and os.path.basename(folder) == "cases":
                names.add(file)
    return names


def offences(table, names):
    rows = {int(number): text for number, text in re.findall(r"^\| (\d+) \|(.*)$", table, re.M)}
    found = [f"row {n} is missing" for n in range(1, ROWS + 1) if n not in rows]
    for number, text in sorted(rows.items()):
        named = re.findall(r"`(\w+\.\w+|\w+\.py::\w+|\w+\.txt)`", text.split("|")[-2])
        if not named:
            found.append(f"row {number} names no test")
        found += [f"row {number}: there is no test {name}" for name in named if name not in names]
    return found


def self_test():
    good = "".join(f"| {n} | bug | ref | `Suite.Name` |\n" for n in range(1, ROWS + 1))
    assert offences(good, {"Suite.Name"}) == []
    assert offences(good, set())[0] == "row 1: there is no test Suite.Name"
    assert offences(good.replace("| 7 | bug", "| 7 bug"), {"Suite.Name"}) == ["row 7 is missing"]
    assert offences(good.replace("| 3 | bug | ref | `Suite.Name` |", "| 3 | bug | ref | trust me |"), {"Suite.Name"}) == ["row 3 names no test"]


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: known_bugs.py ROOT | known_bugs.py --self-test")
    if sys.argv[1] == "--self-test":
        self_test()
        return 0
    root = sys.argv[1]
    with open(os.path.join(root, "docs", "consensus.md"), encoding="utf-8") as f:
        section = f.read().split("## Known bugs of others", 1)[-1].split("\n## ", 1)[0]
    found = offences(section, tests_of(root))
    for line in found:
        print(f"docs/consensus.md: {line}")
    print(f"{len(found)} offences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
