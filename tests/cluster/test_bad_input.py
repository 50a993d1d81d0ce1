#!/usr/bin/env python3
"""Bad input: each kind gets its own clear error, and nothing of it is stored (issue: what must survive)."""
import json
import os
import subprocess
import sys

from kraken_cluster import OCI_MANIFEST, Cluster, digest_of, random_bytes, request, run_tests


def stored_files(cluster):
    found = []
    for node in cluster.nodes:
        for folder in ("blobs", "uploads"):
            for base, _, names in os.walk(os.path.join(node.folder, folder)):
                found += [os.path.join(base, name) for name in names if len(name) >= 32]
    return found


def error_code(answer):
    return answer.json()["errors"][0]["code"]


def begin(node, repository="r/x"):
    begun = node.registry("POST", f"/v2/{repository}/blobs/uploads/", body=b"")
    assert begun.status == 202, begun
    return begun.headers["Location"].replace(f"http://{node.host}:15000", "")


def with_digest(location, digest):
    return location + ("&" if "?" in location else "?") + "digest=" + digest


def test_bad_uploads(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        wrong = node.registry("PUT", with_digest(begin(node), digest_of(b"other")), body=b"content")
        assert wrong.status == 400 and error_code(wrong) == "DIGEST_INVALID", wrong
        assert node.registry("HEAD", f"/v2/r/x/blobs/{digest_of(b'content')}").status == 404
        assert node.registry("HEAD", f"/v2/r/x/blobs/{digest_of(b'other')}").status == 404

        short = node.registry("PATCH", begin(node), body=b"x" * 10, headers={"Content-Range": "0-99", "Content-Length": "10"})
        assert short.status in (400, 416), short

        location = begin(node)
        first = node.registry("PATCH", location, body=b"0123456789", headers={"Content-Range": "0-9"})
        assert first.status == 202, first
        location = first.headers["Location"].replace(f"http://{node.host}:15000", "")
        late = node.registry("PATCH", location, body=b"abcdefghij", headers={"Content-Range": "20-29"})
        assert late.status == 416, late
        assert node.registry("GET", location).headers["Range"] == "0-9"
        cancelled = node.registry("DELETE", location)
        assert cancelled.status == 204, cancelled
        gone = node.registry("PATCH", location, body=b"x")
        assert gone.status == 404 and error_code(gone) == "BLOB_UPLOAD_UNKNOWN", gone

        for digest in ("sha256:xyz", "sha512:" + "0" * 128, "../../etc/passwd", "sha256:" + "0" * 63 + "%00"):
            answer = node.registry("PUT", with_digest(begin(node), digest), body=b"content")
            assert answer.status == 400 and error_code(answer) == "DIGEST_INVALID", (digest, answer)


def test_bad_names(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        digest = digest_of(b"x")
        before = stored_files(cluster)
        for name in ("..%2F..%2Fetc", "a/..%2Fb", "UPPER", "a%00b", "a%5Cb", "-a", "a" * 256):
            answer = node.registry("POST", f"/v2/{name}/blobs/uploads/", body=b"")
            assert answer.status in (400, 404) and answer.status != 202, (name, answer)
            answer = node.registry("GET", f"/v2/{name}/manifests/latest")
            assert answer.status in (400, 404), (name, answer)
        for tag in ("..%2Fx", "a%00b", "-a", ".a", "a" * 129):
            answer = node.registry("PUT", f"/v2/r/x/manifests/{tag}", body=b"{}", headers={"Content-Type": OCI_MANIFEST})
            assert answer.status in (400, 404), (tag, answer)
            assert node.put_tag(f"r/x:{tag}", digest).status in (400, 404), tag
        for bad in ("sha256:..%2F..%2Fetc", "sha256:" + "g" * 64, "md5:" + "0" * 32, "sha256:%00"):
            assert node.registry("GET", f"/v2/r/x/blobs/{bad}").status in (400, 404)
            assert node.origin("GET", f"/namespace/r%2Fx/blobs/{bad}").status == 400
            assert request("PUT", node.host, 15004, f"/tags/r%2Fx:t/digest/{bad}").status in (400, 404)
        assert stored_files(cluster) == before
        assert json.loads(node.registry("GET", "/v2/_catalog").body)["repositories"] == []


def test_bad_manifests(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        node = cluster.nodes[0]

        def put(content, reference="bad"):
            return node.registry("PUT", f"/v2/r/x/manifests/{reference}", body=content, headers={"Content-Type": OCI_MANIFEST})

        for content in (b"not json", b"[]", b"{}", b"[" * 100_000):
            answer = put(content)
            assert answer.status == 400 and error_code(answer) == "MANIFEST_INVALID", answer
        large = put(b" " * 5_000_000)
        assert large.status == 413, large
        absent = digest_of(b"absent")
        missing = put(json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
                                  "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": absent, "size": 6}}).encode())
        assert missing.status == 400 and absent in missing.body.decode(), missing
        assert error_code(missing) in ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")
        assert node.pull_manifest("r/x", "bad").status == 404
        config = node.push_blob("r/x", b"{}")
        good = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
                           "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}}).encode()
        wrong = put(good, reference=digest_of(b"something else"))
        assert wrong.status == 400 and error_code(wrong) == "DIGEST_INVALID", wrong
        assert put(good, reference="good").status == 201


def test_bad_requests_of_stocks_apis(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        digest = digest_of(b"content")
        for body in (b"", b"not json", b"{}", b"[]", b'{"peer":null}', b'{"info_hash":[1],"peer":{}}'):
            answer = request("POST", node.host, 15003, f"/announce/{'0' * 40}", body=body)
            assert 400 <= answer.status <= 500, (body, answer)
        assert request("POST", node.host, 15003, "/announce/xyz", body=b"{}").status in (400, 500)
        begun = node.origin("POST", f"/namespace/r%2Fx/blobs/{digest}/uploads", body=b"")
        assert begun.status == 200, begun
        upload = begun.headers["Location"]
        for value in (None, "x", "5", "9-3", "0-"):
            answer = node.origin("PATCH", f"/namespace/r%2Fx/blobs/{digest}/uploads/{upload}", body=b"abc", headers={"Content-Range": value} if value else {})
            assert answer.status == 400, (value, answer)
        assert node.origin("PUT", f"/namespace/r%2Fx/blobs/{digest}/uploads/{upload}", body=b"").status == 500
        assert node.origin("PUT", f"/namespace/r%2Fx/blobs/{digest}/uploads/00000000-0000-4000-8000-000000000000", body=b"").status == 404
        assert node.is_ready()


def refused(kraken, config, *expected):
    """`kraken node` with this file ends by itself and says all of these words."""
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "node.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config.replace("FOLDER", folder))
        done = subprocess.run([kraken, "node", "--config", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        assert done.returncode != 0, done.stdout
        for word in expected:
            assert word in done.stdout, (word, done.stdout)


def test_bad_configurations(kraken):
    base = "node:\n  host: 127.0.0.1\nmetadata:\n  path: FOLDER/m\nblobs:\n  path: FOLDER/b\n"
    refused(kraken, base + "hashstate:\n  127.0.0.1:\n    label: a\n    weight: 100\nhashrng:\n  max_replica: 2\n", "hashrng", "hashring")
    refused(kraken, base + "hashstate:\n  127.0.0.1:\n    label: a\n    weight: 0\n", "weight")
    refused(kraken, base + "hashstate:\n  127.0.0.1:\n    label: a\n    weight: 1\n  127.0.0.2:\n    label: a\n    weight: 1\n", "label", "a")
    refused(kraken, base + "hashstate:\n  10.9.8.7:\n    label: a\n    weight: 1\n", "label")
    refused(kraken, base.replace("127.0.0.1", "0.0.0.0") + "hashstate:\n  0.0.0.0:\n    label: a\n    weight: 1\n", "tls.server.disabled")


def test_port_that_another_process_holds(kraken):
    import socket
    with Cluster(kraken, nodes=1) as cluster:
        node = cluster.nodes[0]
        with socket.socket() as holder:
            holder.bind((node.host, 15002))
            holder.listen()
            node.start()
            assert node.wait_exit(60) != 0
            assert "15002" in node.log_text() and node.host in node.log_text(), node.log_text()[-500:]


def test_two_nodes_with_one_label(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        impostor = cluster.nodes[2]
        impostor.stop()
        # Another data folder under the same label: a wiped disk, or a second host that claims the label.
        os.rename(impostor.folder, impostor.folder + ".set-aside")
        impostor.start()
        from kraken_cluster import wait_for
        wait_for(lambda: "refus" in impostor.log_text() or not impostor.alive(), 60, "the stranger is refused")
        digest = cluster.nodes[0].push_taggable("r/x", random_bytes(1000, 1))
        assert cluster.nodes[1].put_tag("r/x:t", digest).status == 200
        assert not impostor.alive() or not impostor.is_ready()


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
