#!/usr/bin/env python3
"""Assembles a small, runnable container image out of Debian's packages, as an OCI image layout.

usage: make_image.py FOLDER

Three layers (a C library with busybox, Python, Perl), about 100 MB, byte for byte the same for the same packages.
Only Debian's archive is used (apt-get download); nothing runs as root inside it.
"""
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

LAYERS = [
    ("base", ["base-files", "libc6", "libgcc-s1", "libcrypt1", "busybox-static"]),
    ("python", ["python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0",
                "liblzma5", "libsqlite3-0", "libuuid1"]),
    ("perl", ["perl-base", "perl", "perl-modules-5.36", "libperl5.36", "libdb5.3", "libgdbm6", "libgdbm-compat4"]),
]
EXTRA = {  # layer -> (path, link target or bytes)
    "base": [
        *((f"bin/{applet}", "busybox") for applet in ("sh", "cat", "ls", "echo", "env", "hostname", "ps", "uname", "vi")),
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"), ("etc/motd", b"Hello from a swarm.\n")],
    "python": [("usr/bin/python3", "python3.11")],
    "perl": [],
}


def normal(info):
    info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
    return info


def add_package(layer, deb, seen):
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as package:
        for member in package:
            if member.name in seen or member.name.startswith(("./usr/share/doc", "./usr/share/man", "./usr/share/lintian")):
                continue
            seen.add(member.name)
            layer.addfile(normal(member), package.extractfile(member) if member.isreg() else None)


def build_layer(name, packages, debs):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as layer:
        seen = set()
        for package in packages:
            add_package(layer, debs[package], seen)
        for path, what in EXTRA[name]:
            info = normal(tarfile.TarInfo(path))
            if isinstance(what, bytes):
                info.size, info.mode = len(what), 0o644
                layer.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, what
                layer.addfile(info)
    return out.getvalue()


def download(folder):
    wanted = [package for _, packages in LAYERS for package in packages]
    done = subprocess.run(["apt-get", "download", "-qq", *wanted], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"error: Debian's packages could not be downloaded ({done.stdout.strip().splitlines()[-1:]}); run apt-get update and try again")
    return {name.split("_")[0]: os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".deb")}


def store(folder, content):
    digest = hashlib.sha256(content).hexdigest()
    path = os.path.join(folder, "blobs", "sha256", digest)
    with open(path, "wb") as file:
        file.write(content)
    return f"sha256:{digest}"


def descriptor(folder, media_type, content):
    return {"mediaType": media_type, "digest": store(folder, content), "size": len(content)}


def encode(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    os.makedirs(os.path.join(folder, "blobs", "sha256"), exist_ok=True)
    with tempfile.TemporaryDirectory() as packages:
        os.chmod(packages, 0o755)
        debs = download(packages)
        contents = [build_layer(name, names, debs) for name, names in LAYERS]
    layers = [descriptor(folder, "application/vnd.oci.image.layer.v1.tar", content) for content in contents]
    config = encode({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "history": [{"created_by": f"Debian packages: {' '.join(names)}"} for _, names in LAYERS],
    })
    manifest = encode({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "config": descriptor(folder, "application/vnd.oci.image.config.v1+json", config), "layers": layers})
    index = descriptor(folder, "application/vnd.oci.image.manifest.v1+json", manifest)
    index["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    with open(os.path.join(folder, "index.json"), "wb") as file:
        file.write(encode({"schemaVersion": 2, "manifests": [index]}))
    with open(os.path.join(folder, "oci-layout"), "wb") as file:
        file.write(encode({"imageLayoutVersion": "1.0.0"}))
    total = sum(layer["size"] for layer in layers)
    print(f"{len(layers)} layers, {total / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
