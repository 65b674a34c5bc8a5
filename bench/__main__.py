"""`make bench`: the cost of the probe and of other tools.  See `--help`."""

from __future__ import annotations

import argparse
import sys

from bench import native, results
from bench.busy import TOO_BUSY, busy_share
from bench.place import isolate
from bench.progress import Progress
from bench.traffic.catalogue import WORKLOADS
from bench.watchers.catalogue import GUEST, NATIVE

PARTS = ("compare", "scale", "render")


def main() -> int:
    """Run the benchmarks; exit code 0 when all selected ones were measured."""
    options = _options()
    progress = Progress(lines=options.guest)
    if options.vm:
        from bench import vm  # noqa: PLC0415 - needs what boots kernels

        return vm.measure(options, progress)
    if set(options.parts) & {"compare", "scale"}:
        isolate()
        _measure(options, progress)
    if "render" in options.parts and options.results == results.PATH:
        from bench import render  # noqa: PLC0415 - needs matplotlib

        render.all_of(results.load())
    return 0


def _measure(options: argparse.Namespace, progress: Progress) -> None:
    busy = busy_share()
    if busy > TOO_BUSY:
        progress.report(f"WARNING: {busy:.0%} of this machine is busy: the figures will be noise")
    part = results.GUEST if options.guest else results.NATIVE
    path = options.results
    if "scale" in options.parts:  # first: what the others leave in TIME_WAIT costs the sampler
        results.store(part, native.scales(options.seconds * 2, progress), path)
    if "compare" in options.parts:
        plan = native.Plan(
            [one for one in WORKLOADS if one.name in options.workloads],
            [one for one in (*NATIVE, *GUEST) if one.name in options.watchers],
            options.rounds,
            options.seconds,
            round(busy, 2),
            few_starts=options.guest,
        )
        for measured in native.comparisons(plan, progress):
            results.store(part, measured, path)


def _names(known: tuple[str, ...]) -> object:
    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        unknown = sorted(set(chosen) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)} is unknown; there are {', '.join(known)}"
            )
        return chosen

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    workloads = tuple(one.name for one in WORKLOADS)
    watchers = tuple(one.name for one in (*NATIVE, *GUEST))
    parser.add_argument("--quick", action="store_true", help="two short rounds: to try it out")
    parser.add_argument("--vm", action="store_true", help="in a guest: kprobe, fentry, bcc")
    parser.add_argument("--rounds", type=int, help="of each comparison (7; quick: 2)")
    parser.add_argument("--seconds", type=float, help="of each run (2; quick: 1)")
    parser.add_argument("--parts", type=_names(PARTS), default=list(PARTS), help="of %(default)s")
    parser.add_argument("--workloads", type=_names(workloads), help=", ".join(workloads))
    parser.add_argument("--watchers", type=_names(watchers), help=", ".join(watchers))
    parser.add_argument("--results", type=type(results.PATH), default=results.PATH)
    parser.add_argument("--guest", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.seconds = options.seconds or (1.0 if options.quick else 2.0)
    options.workloads = options.workloads or list(workloads)
    of_place = GUEST if options.vm or options.guest else NATIVE
    options.watchers = options.watchers or [one.name for one in of_place]
    return options


if __name__ == "__main__":
    sys.exit(main())
