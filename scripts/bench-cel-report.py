"""Prints the figures of cel-bench beside a peer's as a table. With --check, exits 1 where a target is missed."""

import json
import sys

TARGETS = {  # name: (median in ns, allocations)
    "evaluate sample rule": (50, 0),
    "evaluate seven terms": (400, None),
    "compile sample rule": (30_000, None),
    "evaluate host functions": (None, 0),
}


def read(path):
    with open(path) as file:
        return {line["name"]: line for line in map(json.loads, file)}


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    ours, peer = read(arguments[0]), read(arguments[1])
    missed = []
    print(f"{'':34}{'median ns':>12}{'min ns':>10}{'allocations':>13}{'target ns':>11}{'cel-rust median':>17}")
    for name, line in ours.items():
        time, allocations = TARGETS.get(name, (None, None))
        counted = line.get("allocations")
        other = peer.get(name)
        print(
            f"{name:34}{line['median_ns']:12.1f}{line['minimum_ns']:10.1f}"
            f"{'not counted' if counted is None else counted:>13}{time or '':>11}"
            f"{other['median_ns'] if other else '':>17}"
        )
        if time is not None and line["median_ns"] > time:
            missed.append(f"{name}: {line['median_ns']} ns, target {time}")
        if allocations is not None and counted != allocations:
            missed.append(f"{name}: {counted} allocations, target {allocations}")
        if name.startswith("control") and (counted is None or counted < 1):
            missed.append(f"{name}: {counted} allocations counted, so the counter does not count")
    for name in TARGETS.keys() - ours.keys():
        missed.append(f"{name}: not measured")
    if "evaluate call alone" in peer:
        print(f"the peer's call from Python alone takes {peer['evaluate call alone']['median_ns']} ns of its figures")
    else:
        print("the peer was not measured")
    for problem in missed:
        print(f"missed: {problem}", file=sys.stderr)
    return 1 if missed and "--check" in sys.argv else 0


sys.exit(main())
