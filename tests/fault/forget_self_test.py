#!/usr/bin/env python3
"""Proves that the shim forgets what was not synced and nothing else. usage: forget_self_test.py SHIM"""
import os
import signal
import subprocess
import sys
import tempfile

APPLY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "apply_undo.py")
PROGRAM = r"""
import os, sys, signal
os.chdir(sys.argv[1])
def put(name, data, sync, flags=os.O_CREAT | os.O_WRONLY):
    fd = os.open(name, flags, 0o644); os.write(fd, data)
    if sync: os.fsync(fd)
    return fd
def sync_folder():
    fd = os.open(".", os.O_RDONLY); os.fsync(fd); os.close(fd)
fd = put("kept", b"durable", True); sync_folder()
os.write(fd, b" and not"); os.pwrite(fd, b"X", 0)
put("lost", b"never synced", False)
put("data-synced-name-not", b"x", True)
put("a", b"moved", True); sync_folder(); os.rename("a", "b")
put("old", b"old", True); put("new", b"new", True); sync_folder(); os.rename("new", "old")
put("gone", b"gone", True); sync_folder(); os.unlink("gone")
put("moved", b"m", True); sync_folder()
put("victim", b"v", True); put("winner", b"w", True); put("kept2", b"k", True)
put("cut", b"0123456789", True); sync_folder()
put("tail", b"name not durable", True)
os.rename("moved", "moved2"); os.rename("winner", "victim"); os.unlink("kept2")
fd = os.open("cut", os.O_WRONLY | os.O_TRUNC); os.write(fd, b"zz")
os.kill(os.getpid(), signal.SIGKILL)
"""
EXPECTED = {"kept": b"durable", "a": b"moved", "old": b"old", "new": b"new", "gone": b"gone", "moved": b"m", "cut": b"0123456789",
            "victim": b"v", "winner": b"w", "kept2": b"k"}


def main():
    with tempfile.TemporaryDirectory() as folder:
        root, log = os.path.join(folder, "root"), os.path.join(folder, "undo")
        os.mkdir(root)
        done = subprocess.run([sys.executable, "-c", PROGRAM, root], env=dict(os.environ, LD_PRELOAD=sys.argv[1], FORGET_ROOT=root, FORGET_LOG=log))
        assert done.returncode == -signal.SIGKILL, done
        subprocess.run([sys.executable, APPLY, root, log], check=True)
        found = {name: open(os.path.join(root, name), "rb").read() for name in os.listdir(root)}
        # "b", "lost" and "data-synced-name-not" are durable by name through the later syncs of the folder, but "lost" was never
        # synced itself: its name stays, its bytes go. The rename to "b" came before a later sync of the folder: it stays.
        assert found.pop("lost") == b"", found
        assert found.pop("data-synced-name-not") == b"x"
        assert found.pop("b") == b"moved"
        expected = dict(EXPECTED)
        del expected["a"]
        # "new" over "old" and the unlink of "gone" were covered by the folder's later syncs as well.
        assert found.pop("old") == b"new" and "new" not in found and "gone" not in found, found
        for name in ("old", "new", "gone"):
            del expected[name]
        assert found == expected, found
        print("what was synced is there, what was not is gone")


main()
