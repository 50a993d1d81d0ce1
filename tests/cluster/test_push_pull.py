"""An image goes into one node by registry v2 and comes out of every node and every agent, byte for byte."""
from kraken_cluster import BALANCED, check, in_parallel, main, random_bytes


def push_one_node_pull_everywhere(cluster):
    cluster.start()
    first, second, third = cluster.nodes
    layers = [random_bytes(9_000_000, 1), random_bytes(300_000, 2), b"small"]
    image = first.push_image("library/app", "v1", layers, chunk=4 << 20)

    for node in (second, third):
        check(node.get_tag("library/app:v1") == image[0], f"{node.name} has another tag")
        check(node.pull_image("library/app", "v1") == image, f"{node.name} gave another image")
    check(first.http("GET", "/v2/library/app/tags/list", port=BALANCED).expect(200).json()["tags"] == ["v1"], "tags/list on 5000")

    pulled = in_parallel([lambda agent=agent: agent.pull_image("library/app", "v1") for agent in cluster.agents])
    for agent, digests in zip(cluster.agents, pulled):
        check(digests == image, f"{agent.name} gave another image")
    cluster.stop()


if __name__ == "__main__":
    main(push_one_node_pull_everywhere, nodes=3, agents=3)
