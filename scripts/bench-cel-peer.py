"""Measures cel-rust through its Python package on the rules of cel-bench; one JSON object per line.

The peer has no checker and no cost limit. Its context is made once, so that only the evaluation is measured; what the
call from Python costs is told by a rule that is a constant.
"""

import json
import statistics
import time

import cel

RULES = {
    "evaluate call alone": "true",
    "evaluate sample rule": 'customer.daily_spend > 5000.0 || (customer.daily_spend > 3000.0 && customer.user_type == "PAID")',
    "evaluate seven terms": "customer.daily_spend > 100.0 && customer.age >= 18 && customer.age < 100"
    ' && !customer.blocked && customer.orders > 0 && customer.country in ["DE", "FR", "NL"]'
    ' && customer.tags.exists(t, t == "subscriber")',
}
CUSTOMER = {
    "daily_spend": 3500.0,
    "user_type": "PAID",
    "tags": ["new", "newsletter", "trial-2024-spring", "mobile", "subscriber"],
    "age": 40,
    "country": "FR",
    "orders": 7,
    "blocked": False,
}


def measure(name, operation, rounds=31, operations=500):
    times = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        for _ in range(operations):
            operation()
        times.append((time.thread_time_ns() - start) / operations)
    times.sort()
    print(json.dumps({"name": name, "minimum_ns": round(times[0], 1), "median_ns": round(statistics.median(times), 1)}))


def main():
    context = cel.Context()
    context.add_variable("customer", CUSTOMER)
    for name, source in RULES.items():
        program = cel.compile(source)
        if program.execute(context) is not True:
            raise SystemExit(f"{name}: the peer does not answer true")
        measure(name, lambda: program.execute(context))
        if name != "evaluate call alone":
            measure(name.replace("evaluate", "compile"), lambda: cel.compile(source))


main()
