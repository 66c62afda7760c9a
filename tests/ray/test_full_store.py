"""A cluster whose object store is full, and whose disk has no room for what does not fit there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from ray.cluster_utils import Cluster

from mdm_tune.core.errors import RunError
from mdm_tune.sampling.cluster import joined_cluster
from mdm_tune.sampling.devices import RayDevices
from mdm_tune.sampling.replicas import Replicas
from tests.support.pools import chain

STORE = 80 * 2**20  # bytes
FULL_DISK = {"local_fs_capacity_threshold": 0.0001}  # the share of the disk above which Ray writes nothing to it
REMEDY = r"\(?Local disk is full\)?; free memory or disk space for Ray's objects, or lower sampler\.batch"


@pytest.fixture(scope="module")
def joined() -> Iterator[RayDevices]:
    arguments = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": STORE, "_system_config": FULL_DISK}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        with joined_cluster(cluster.address):
            yield RayDevices(1, cluster.address)
    finally:
        cluster.shutdown()


def size(denoiser: object, device: str, *, array: Any) -> int:
    return int(array.nbytes)


def large(denoiser: object, device: str) -> Any:
    return np.ones(2 * STORE // 8)


def test_rows_that_do_not_fit(joined: RayDevices) -> None:
    with Replicas(chain, joined) as pool, pytest.raises(RunError, match=rf"^rows could not be sent to .* {REMEDY}$"):
        list(pool.results([partial(size, array=np.ones(2 * STORE // 8))]))


def test_a_result_that_does_not_fit(joined: RayDevices) -> None:
    with Replicas(chain, joined) as pool, pytest.raises(RunError, match=rf"^replica 1 on cpu failed: {REMEDY}$"):
        list(pool.results([large]))
