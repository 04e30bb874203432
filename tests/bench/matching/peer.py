"""A solver to compare with: answers every line `FILE JOBS WORKERS SLOTS` with its milliseconds and the score.

Only the solver's own call is timed, with its input as it wants it: tables of 8-byte numbers for SciPy and lapx, the
finished graph for OR-tools. Each solver runs in a process of its own, since their libraries clash.
"""

import json
import sys
import time

import numpy as np

HIGHEST = 10_000


def scipy(scores, slots):
    from scipy.optimize import linear_sum_assignment

    table = np.repeat(scores, slots, axis=1)
    costs = (HIGHEST - table).astype(float)
    start = time.perf_counter()
    rows, columns = linear_sum_assignment(costs)
    return time.perf_counter() - start, table[rows, columns].sum()


def lapx(scores, slots):
    import lap

    table = np.repeat(scores, slots, axis=1)
    costs = (HIGHEST - table).astype(float)
    start = time.perf_counter()
    _, columns, _ = lap.lapjv(costs, extend_cost=costs.shape[0] != costs.shape[1])
    return time.perf_counter() - start, table[np.arange(len(columns)), columns].sum()


def ortools_assignment(scores, slots):
    from ortools.graph.python import linear_sum_assignment

    table = np.repeat(scores, slots, axis=1)
    jobs, columns = table.shape
    solver = linear_sum_assignment.SimpleLinearSumAssignment()
    rows = np.repeat(np.arange(jobs), columns)
    solver.add_arcs_with_cost(rows, np.tile(np.arange(columns), jobs), (HIGHEST - table).ravel())
    start = time.perf_counter()
    status = solver.solve()
    elapsed = time.perf_counter() - start
    assert status == solver.OPTIMAL
    return elapsed, jobs * HIGHEST - solver.optimal_cost()


def ortools_flow(scores, slots):
    from ortools.graph.python import min_cost_flow

    jobs, workers = scores.shape
    solver = min_cost_flow.SimpleMinCostFlow()
    solver.add_arcs_with_capacity_and_unit_cost(
        np.repeat(np.arange(jobs), workers),
        np.tile(np.arange(jobs, jobs + workers), jobs),
        np.ones(jobs * workers, dtype=np.int64),
        (HIGHEST - scores).ravel(),
    )
    supplies = np.concatenate([np.ones(jobs, dtype=np.int64), np.full(workers, -slots, dtype=np.int64)])
    solver.set_nodes_supplies(np.arange(jobs + workers), supplies)
    start = time.perf_counter()
    status = solver.solve()
    elapsed = time.perf_counter() - start
    assert status == solver.OPTIMAL
    return elapsed, jobs * HIGHEST - solver.optimal_cost()


def main():
    solve = {
        "scipy": scipy,
        "lapx": lapx,
        "ortools-assignment": ortools_assignment,
        "ortools-flow": ortools_flow,
    }[sys.argv[1]]
    for line in sys.stdin:
        file, jobs, workers, slots = line.split()
        jobs, workers = int(jobs), int(workers)
        scores = np.fromfile(file, dtype="<u2", count=jobs * workers).reshape(jobs, workers).astype(np.int64)
        seconds, score = solve(scores, int(slots))
        print(json.dumps({"ms": seconds * 1e3, "score": int(score)}), flush=True)


main()
