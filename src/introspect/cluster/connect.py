"""To a cluster, or to one of this machine's own, and how much of it each worker gets."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from ..errors import RunError, SpecError
from .options import LOCAL, RUNNING, ClusterOptions

log = logging.getLogger(__name__)

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_worker_niceness": "0",
    "RAY_agent_register_timeout_ms": "120000",
}
"""Read when Ray is imported or starts: nothing is reported to anybody, nothing of Ray's own is printed among our
results, workers are no less urgent than this process (Ray's default is 15 less), and a busy machine has time to start.
"""
STORE_BYTES = 200_000_000
"""Of a local cluster's memory for what is sent: lines of rollouts, not activations."""
MOST_STARTS = 3
"""Ray gives its own processes 15 seconds to come up, which a busy machine may not do at the first attempt."""
CONNECT_SECONDS, PROBE_SECONDS = 5.0, 45.0
PROBE = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)"
UNKNOWN = b"AuthToken"
"""Of what Ray says when it does not let us in."""
OTHER_PORTS = {10001: "of Ray's client", 8265: "of Ray's dashboard"}


@dataclass(frozen=True)
class Share:
    """What the workers of a run get."""

    workers: int
    """Models at work, this process's among them where it does pieces."""
    gpus: int
    threads: int
    seated: bool
    """Whether this process has to ask the cluster for its own share: not where the cluster was made for it."""
    joined: bool = False
    """Whether the connection was made for this, and ends with it."""


def import_ray() -> Any:
    """Ray.

    Raises:
        SpecError: it is not installed.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise SpecError(
            "--ray needs Ray, which is not installed: get it with `pip install -c constraints.txt '.[ray]'` in the "
            "folder of introspect's source"
        ) from None
    return ray


def connect(options: ClusterOptions) -> Share:
    """Join the cluster, or start one here, and deal it out.

    Raises:
        SpecError: Ray is not installed, this process is part of another cluster than the one that is named, or the
            cluster is none that has room for such workers.
        RunError: the cluster cannot be reached, or joined from this machine.
    """
    local, address = options.address == LOCAL, options.address
    known = _running() if address == RUNNING else address
    if known is not None and not local and not (address == RUNNING and _is_joined()):
        _check_address(known)
    ray = import_ray()
    joined = not ray.is_initialized()
    if joined and local:
        start_here(ray)
    elif joined:
        _join(ray, address)
    elif address not in (LOCAL, RUNNING):
        _check_joined(str(ray.get_runtime_context().gcs_address), address)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    try:
        return replace(deal(options, nodes, alone=local), joined=joined)
    except SpecError:
        if joined:
            ray.shutdown()
        raise


def deal(options: ClusterOptions, nodes: Sequence[Mapping[str, float]], *, alone: bool) -> Share:
    """How many workers, with how much each.

    Args:
        nodes: resources of each machine, as Ray names them.
        alone: whether the cluster is there for this run only.

    Raises:
        SpecError: there is no room for such workers. Says for what there is.
    """
    most = int(max((node.get("GPU", 0) for node in nodes), default=0))
    gpus = min(most, 1) if options.gpus is None else options.gpus
    if gpus > most:
        raise SpecError(
            f"no machine of the cluster has {gpus} GPUs for a worker: one has {most} at most, so --ray-gpus"
        )
    places = [int(node.get("GPU", 0)) // gpus for node in nodes] if gpus else []
    workers = options.workers or (sum(places) if gpus else max(2, len(nodes)))
    if gpus and workers > sum(places):
        raise SpecError(f"the cluster has room for {sum(places)} workers of {gpus} GPUs, not {workers}: --ray-workers")
    cores = [int(node.get("CPU", 0)) for node in nodes]
    each = -(-workers // max(1, len(nodes)))
    fair = (
        [own // many for own, many in zip(cores, places, strict=True) if many] if gpus else [c // each for c in cores]
    )
    threads = options.threads or max(1, min(fair, default=1))
    fits = sum(own // threads for own in cores)
    if workers > fits:
        raise SpecError(
            f"the cluster's {sum(cores)} cores have room for {fits} workers of {threads} threads, not {workers}: "
            "--ray-workers or --ray-threads"
        )
    return Share(workers, gpus, threads, seated=gpus > 0 or not alone)


def start_here(ray: Any, **other: Any) -> None:
    """Start a cluster on this machine.

    Args:
        other: options of `ray.init` in the place of ours.

    Raises:
        RunError: it does not start.
    """
    own = {"num_cpus": len(os.sched_getaffinity(0)), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    for left in reversed(range(MOST_STARTS)):
        try:
            with _signals_kept():
                ray.init(address=LOCAL, log_to_driver=False, logging_level="error", **own | other)
            return
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes; said in one line
            why = _why(error)
        ray.shutdown()
        if left:
            log.warning("Ray did not start (%s); trying again", why)
    raise RunError(f"Ray does not start on this machine ({why}): try again when it is less busy, or look into /tmp/ray")


def _running() -> str | None:
    """Where Ray will look for the cluster of this machine, if anything says so; that may outlive the cluster."""
    told = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # noqa: S108 - Ray's own place
    if "RAY_ADDRESS" in os.environ:
        return os.environ["RAY_ADDRESS"]
    return told.read_text(encoding="utf-8").strip() if told.is_file() else None


def _is_joined() -> bool:
    return "ray" in sys.modules and bool(import_ray().is_initialized())


def _check_joined(own: str, address: str) -> None:
    """A process is part of one cluster at most, and what Ray is asked goes there.

    Raises:
        SpecError: it is another one than the one at `address`.
    """
    (own_hosts, own_port), (hosts, port) = _place(own), _place(address)
    if port != own_port or not hosts & own_hosts:
        raise SpecError(
            f"--ray {address} is another cluster than the one at {own}, which this process is part of already: give "
            "that one, or `auto`, or start this in a process of its own"
        )


def _place(address: str) -> tuple[set[str], str]:
    """The numbers of a host, with this machine's own names for itself as one, and the port."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        found = {str(ipaddress.ip_address(host))}
    except ValueError:
        try:
            found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
        except OSError:
            found = {host}
    here = {each.address for several in psutil.net_if_addrs().values() for each in several}
    return found | ({"here"} if found & here else set()), port


def _join(ray: Any, address: str) -> None:
    try:
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except Exception as error:  # noqa: BLE001 - Ray raises what it likes; said in one line
        which = "runs on this machine" if address == RUNNING else f"at {address} can be joined from this machine"
        raise RunError(
            f"no Ray cluster {which} ({_why(error)}): start this on one of the cluster's machines, or "
            "`ray start` here first; --ray without an address uses this machine alone"
        ) from None


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_address(address: str) -> None:
    """Ray waits long for what is not there, and ends the process for what is no cluster: so ask first, in another."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise SpecError(
            f"--ray {address!r} is no cluster's address: give host:port, such as 10.0.0.1:6379, `auto` on a machine of "
            "a cluster, or no address for this machine alone; from elsewhere use `ray job submit`"
        )
    remedy = "check the address, and that `ray start --head` runs there"
    if int(port) in OTHER_PORTS:
        remedy = f"this port is usually that {OTHER_PORTS[int(port)]}; the cluster's is usually 6379"
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunError(f"no Ray cluster answers at {address} ({error}): {remedy}") from None
    found = next((mode for mode in _modes() if _found(address, mode, remedy)), None)
    if found == "disabled":
        log.warning("the Ray cluster at %s asks for no token: whoever reaches it can run programs there", address)
    if found is None:
        raise RunError(
            f"the Ray cluster at {address} asks for its token: copy ~/.ray/auth_token of its first machine to the same "
            "place here, or put it into RAY_AUTH_TOKEN"
        )


def _modes() -> list[str]:
    """Ways to prove who we are, the likeliest first."""
    if "RAY_AUTH_MODE" in os.environ:
        return [os.environ["RAY_AUTH_MODE"]]
    has_token = "RAY_AUTH_TOKEN" in os.environ or (Path.home() / ".ray" / "auth_token").exists()
    return ["token", "disabled"] if has_token else ["disabled"]


def _found(address: str, mode: str, remedy: str) -> bool:
    """Whether a cluster lets us in; what lets us in is left in the environment for Ray.

    Raises:
        RunError: what is there is no cluster.
    """
    command = [sys.executable, "-c", PROBE, address]
    environment = {**os.environ, **ENVIRONMENT, "RAY_AUTH_MODE": mode}
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            command, capture_output=True, timeout=PROBE_SECONDS, check=False, env=environment
        )
        code, said = done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        code, said = None, error.stderr or b""
    if code == 0:
        os.environ["RAY_AUTH_MODE"] = mode
        return True
    if UNKNOWN in said:
        return False
    raise RunError(f"what answers at {address} is no Ray cluster{'' if code is None else ' of this version'}: {remedy}")


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handler of SIGTERM in the place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
