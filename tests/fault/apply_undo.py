#!/usr/bin/env python3
"""Takes back what a killed process had not synced: the other half of forget_unsynced.cc.

usage: apply_undo.py ROOT LOG      prints how many operations were taken back; LOG and its graves are removed
"""
import os
import shutil
import struct
import sys

WRITE, TRUNCATE, CREATE, RENAME, UNLINK, SYNC = range(1, 7)
HEAD = struct.Struct("=BQQQQI")


def records(log):
    with open(log, "rb") as file:
        content = file.read()
    at = 0
    while at + HEAD.size <= len(content):
        kind, device, inode, a, b, length = HEAD.unpack_from(content, at)
        at += HEAD.size
        if at + length > len(content):
            break  # the kill fell into this record; its operation was not begun
        yield kind, (device, inode), a, b, content[at:at + length]
        at += length


def uncovered(all_records):
    """In reverse order, the operations that no later sync of their file or folder covers."""
    synced = set()
    for record in reversed(all_records):
        if record[0] == SYNC:
            synced.add(record[1])
        elif record[1] not in synced:
            yield record


def paths_by_inode(root):
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            found[(status.st_dev, status.st_ino)] = path
    return found


def restore_bytes(path, kind, a, size, old):
    with open(path, "r+b") as file:
        if kind == WRITE:
            file.truncate(size) if os.path.getsize(path) > size else None
        else:
            file.truncate(a)
        file.seek(a)
        file.write(old)
        file.truncate(size)


def put_back(grave, path):
    if grave and os.path.exists(grave):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(grave, path)


def undo(record, root):
    kind, identity, a, b, data = record
    if kind in (WRITE, TRUNCATE):
        path = paths.get(identity)
        if path is None or not os.path.exists(path):
            return False
        restore_bytes(path, kind, a, b, data)
    elif kind == CREATE:
        path = data.decode()
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)
    elif kind == RENAME:
        source, target, grave = data.decode().split("\0")
        if os.path.exists(target) and not os.path.exists(source) and os.path.isdir(os.path.dirname(source)):
            os.rename(target, source)
            status = os.lstat(source)
            paths[(status.st_dev, status.st_ino)] = source
        put_back(grave, target)
        remember(target)
    elif kind == UNLINK:
        path, grave = data.decode().split("\0")
        put_back(grave, path)
        remember(path)
    return True


def remember(path):
    if os.path.exists(path):
        status = os.lstat(path)
        paths[(status.st_dev, status.st_ino)] = path


paths = {}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root, log = sys.argv[1:]
    paths.update(paths_by_inode(root))
    taken_back = sum(undo(record, root) for record in uncovered(list(records(log))))
    os.unlink(log)
    shutil.rmtree(log + ".graves", ignore_errors=True)
    print(taken_back)


if __name__ == "__main__":
    main()
