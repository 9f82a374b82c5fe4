"""What the measurements share: processes pinned to a core, a Cohort server and a Redis server over TLS."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
REDIS_PORT = 17379


def binaries():
    """Where scripts/build put them."""
    return pathlib.Path(subprocess.run([ROOT / "scripts/build", "--show-bin-path"], check=True, capture_output=True,
                                       text=True).stdout.strip())


def pinned(core, *command):
    return ["taskset", "-c", str(core), *map(str, command)]


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(read, what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = read()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"{what} did not start")


def processor_seconds(process):
    """What the process has used of the processor, in user and kernel mode."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process):
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def closed_loop(bin_, *arguments, timeout):
    """What `cohort-loadtest closed` measures from the other core: checks a second, and how long they took."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run(pinned(1, bin_ / "cohort-loadtest", "closed", *arguments, "--json", file.name), check=True,
                       capture_output=True, text=True, timeout=timeout)
        result = json.loads(pathlib.Path(file.name).read_text())
    if result["closed"]["members"] == 0:
        sys.exit("the server found no member; what was measured is not what it says")
    return {"calls_per_second": int(result["rate_reached"]), "p50_us": result["p50_ms"] * 1000,
            "p99_us": result["p99_ms"] * 1000, "all_calls": result["closed"]["ended"]}


@contextlib.contextmanager
def cohort_server(bin_, data, log, core=0, env=None, settings=()):
    """A server in development mode, ready: the process, its endpoint and the file of its authority."""
    command = pinned(core, bin_ / "cohort-server", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data,
                     "--log-level", "info", *settings)
    with open(log, "w") as err, running(command, stderr=err, env=env) as process:
        def address():
            found = re.search(r'"message":"listening".*?"address":"([^"]+)"', log.read_text())
            return found and found.group(1)
        endpoint = wait_for(address, "cohort-server")
        wait_for(lambda: "the index is loaded" in log.read_text(), "the engine")
        yield process, endpoint, data / "tls/ca.pem"


@contextlib.contextmanager
def redis_server(work, tls, core=0):
    """A Redis over TLS 1.3 that keeps nothing on disk: the process and the arguments of its clients."""
    command = pinned(core, "redis-server", "--port", 0, "--tls-port", REDIS_PORT, "--bind", "127.0.0.1",
                     "--tls-cert-file", tls / "server.pem", "--tls-key-file", tls / "server.key", "--tls-ca-cert-file",
                     tls / "ca.pem", "--tls-auth-clients", "no", "--tls-protocols", "TLSv1.3", "--save", "",
                     "--appendonly", "no", "--dir", work)
    client = ["--tls", "--cacert", str(tls / "ca.pem"), "-h", "127.0.0.1", "-p", str(REDIS_PORT)]
    with running(command, stdout=subprocess.DEVNULL) as process:
        def answers():
            return subprocess.run(["redis-cli", *client, "ping"], capture_output=True).stdout == b"PONG\n"
        wait_for(answers, "redis-server")
        yield process, client


def redis_benchmark(client, connections, pipeline, requests, keyspace, *command):
    """Requests a second, and the row of figures that redis-benchmark printed."""
    out = subprocess.run(
        pinned(1, "redis-benchmark", *client, "-c", connections, "-P", pipeline, "-n", requests, "-r", keyspace, "--csv",
               *command),
        check=True, capture_output=True, text=True, timeout=900)
    values = [float(value.strip('"')) for value in out.stdout.strip().splitlines()[-1].split('","')[-7:]]
    return values[0], values


def require_redis():
    missing = [name for name in ("redis-server", "redis-tools")
               if subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status}", name], capture_output=True,
                                 text=True).stdout != "installed"]
    if missing:
        sys.exit(f"for the peers: apt-get install {' '.join(missing)} (or --no-peers)")
