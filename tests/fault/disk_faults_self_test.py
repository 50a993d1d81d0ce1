#!/usr/bin/env python3
"""The shim of disk_faults.cc does what its head says, and nothing where no fault is asked for: disk_faults_self_test.py LIBRARY."""
import os
import subprocess
import sys
import tempfile

CHILD = r"""
import errno, os, sys, time
folder = sys.argv[1]
control = os.environ["FAULT_CONTROL"]

def switch(*lines):
    with open(control + ".new", "w") as file:
        file.write("".join(line + "\n" for line in lines))
    os.rename(control + ".new", control)

def outcome(call, *words):
    try:
        return call(*words)
    except OSError as error:
        return errno.errorcode[error.errno]

log = os.open(folder + "/000004.log", os.O_RDWR | os.O_CREAT)
other = os.open(folder + "/other", os.O_RDWR | os.O_CREAT)
assert outcome(os.fdatasync, log) is None and outcome(os.write, log, b"x" * 100) == 100

switch(f"sync-fail {folder}/*.log 2 once")
assert [outcome(os.fdatasync, log) for _ in range(4)] == [None, "EIO", None, None]
switch(f"sync-fail {folder}/*.log 2 always")
assert [outcome(os.fsync, log) for _ in range(4)] == [None, "EIO", "EIO", "EIO"]
assert outcome(os.fsync, other) is None
switch(f"write-full {folder}/* 150")
assert [outcome(os.write, log, b"x" * 100) for _ in range(3)] == [100, 50, "ENOSPC"]
assert outcome(os.pwrite, other, b"x", 0) == "ENOSPC"
switch(f"write-short {folder}/other 2")
assert [outcome(os.write, other, b"x" * 10) for _ in range(4)] == [10, 5, 10, 5]
switch(f"write-fail {folder}/other 2")
assert [outcome(os.write, other, b"x") for _ in range(3)] == [1, "EIO", 1]
switch(f"sync-slow *.log 120")
begun = time.monotonic(); os.fsync(log); assert time.monotonic() - begun > 0.1
begun = time.monotonic(); os.fsync(other); assert time.monotonic() - begun < 0.1
switch()
begun = time.monotonic(); assert outcome(os.fsync, log) is None and time.monotonic() - begun < 0.1
print("ok")
"""


def main():
    library = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(folder + "/data")
        environment = dict(os.environ, LD_PRELOAD=library, FAULT_CONTROL=folder + "/faults", FAULT_LOG=folder + "/fired")
        done = subprocess.run([sys.executable, "-c", CHILD, folder + "/data"], env=environment, stdout=subprocess.PIPE, check=True)
        assert done.stdout == b"ok\n", done
        with open(folder + "/fired", encoding="utf-8") as file:
            fired = file.read().splitlines()
        assert sum("sync-fail" in line and line.endswith("/000004.log") for line in fired) == 4, fired
        assert not any(line.startswith("sync-fail") and line.endswith("/other") for line in fired), fired
    print("the shim fails what it is told to fail, and nothing else")


if __name__ == "__main__":
    main()
