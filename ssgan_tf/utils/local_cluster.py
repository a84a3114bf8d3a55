"""What several workers on one machine need to find each other. No TensorFlow."""

import contextlib
import json
import os
import socket


def free_ports(num: int) -> list[int]:
    """Ports of this host that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def environments(num_workers: int) -> list[dict[str, str]]:
    """The environment of each worker."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(num_workers)]
    return [
        {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CONFIG": json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        }
        for index in range(num_workers)
    ]
