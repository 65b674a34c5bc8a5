"""`make eval`: real programs, injected faults, and what the probe reports of them.

Results go to build/evaluation/results.json; with --page also to docs/evaluation.md.  The order of
programs, faults, targets and durations follows from the seed.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from evaluation import page
from evaluation.programs import PROGRAMS
from evaluation.results import Results, read
from evaluation.run import HEALTHY, Plan, run
from evaluation.watcher import SOURCES

TOP = Path(__file__).parents[2]
RESULTS = TOP / "build/evaluation/results.json"
PAGE = TOP / "docs/evaluation.md"
LAYOUTS = ("one", "several")
STARTS_MAX = 5


def main() -> int:
    options = _options()
    if options.only_page:
        results = read(options.results)
        for more in options.merge:
            results.add(read(more))
        PAGE.write_text(page.render(results))
        return 0
    if os.geteuid() != 0:
        print("make eval: needs root, for network namespaces and the kernel source")
        return 2
    seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
    print(f"seed {seed}", flush=True)
    results = Results([], time.strftime("%Y-%m-%d"), f"Linux {platform.release()}")
    if options.add and options.results.exists():
        results = read(options.results)
    results.seeds.append(seed)
    folder = Path(tempfile.mkdtemp(prefix="xctl-evaluation-", dir="/tmp"))
    folder.chmod(0o755)
    sources = tuple(SOURCES) if options.source == "both" else (options.source,)
    for plan in _plans(options, seed, sources, folder):
        reason = plan.program.missing()
        if reason:
            results.errors.append(f"{plan.program.name} not run: {reason}")
            print(results.errors[-1], flush=True)
            continue
        if plan.healthy_s:
            _stay_healthy(plan, results, options)
            continue
        left = plan.faults
        while left:
            known = len(results.injections)
            part = replace(plan, faults=left)
            run(part, results, _print)
            results.write(options.results)
            _report(results, sources, known, options.verbose)
            # A program that did not survive a fault starts again, with the next one.
            left = left[len(results.injections) - known + 1 :]
    print("\n".join(page.summary(results)))
    if options.page:
        PAGE.write_text(page.render(results))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _print(text):
    """Print what happens, with the time of day."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def _stay_healthy(plan, results, options):
    """One program for `healthy_s` in all; it starts again where it did not live that long."""
    begun = len(results.healthy)
    for _ in range(STARTS_MAX):
        had = sum(phase.seconds for phase in results.healthy[begun:])
        if had >= plan.healthy_s:
            break
        run(replace(plan, healthy_s=plan.healthy_s - had), results, _print)
        results.write(options.results)
        _report_phase(results.healthy[-1], plan.sources, options.verbose)


def _plans(options, seed, sources, folder):
    programs = [PROGRAMS[name] for name in options.programs.split(",")]
    layouts = options.layouts.split(",")
    pairs = [(one, layout) for one in programs for layout in layouts if layout in one.faults]
    if options.healthy:
        for program, layout in pairs:
            of_program = sum(one is program for one, _ in pairs)
            yield Plan(
                program, layout, [one for one in HEALTHY if one in program.faults[layout]],
                sources, seed, options.interval, folder, options.probe.split(),
                healthy_s=options.healthy * 60 / of_program,
            )  # fmt: skip
        return
    share, rest = divmod(options.injections, len(pairs))
    for number, (program, layout) in enumerate(pairs):
        wanted = options.faults.split(",") if options.faults else program.faults[layout]
        known = [fault for fault in wanted if fault in program.faults[layout]]
        count = share + (number < rest)
        if not known or not count:
            continue
        # A short evaluation takes the first of the list, a long one each as often.
        faults = [known[i % len(known)] for i in range(count)]
        random.Random(f"{seed} {program.name} {layout} order").shuffle(faults)
        more = options.probe.split()
        yield Plan(
            program, layout, faults, sources, seed, options.interval, folder, more, options.why
        )


def _report(results, sources, known, verbose):
    for injection in results.injections[known:]:
        for source in sources:
            verdict = injection.sources[source]
            missed = [m.who for m in verdict.musts if not m.found]
            causes = [f"{m.who}: {m.cause}" for m in verdict.musts if m.right_cause is False]
            line = (
                f"  {injection.fault:10} {injection.target:10} {source:8}"
                f" found {sum(m.found for m in verdict.musts)}/{len(verdict.musts)}"
                f" false {len(verdict.false)} wrong peer {len(verdict.wrong_peer)}"
            )
            print(line, f"missed {missed}" if missed else "", f"cause {causes}" if causes else "")
            for text in [*verdict.false, *verdict.wrong_peer] if verbose else ():
                print("     ", text)
        for source in sources if verbose else ():
            blame = injection.sources[source].blame
            if blame is not None:
                print(f"      blame {source} {blame.who}: right {blame.right}: {blame.text}")
            for one in injection.sources[source].why:
                right = "" if not one.must else f"right peer {one.right_peer}, "
                print(f"      why {source} {one.who}: {right}waits {one.waits}: {one.text}")
        if injection.unverified:
            print(f"      did not wait: {injection.unverified}")
    phase = results.healthy[-1]
    _report_phase(phase, sources, verbose)
    for line in page.summary(results, (phase.program, phase.layout)):
        print(" ", line, flush=True)


def _report_phase(phase, sources, verbose):
    for source in sources:
        number = len(phase.false[source])
        of = f"{phase.program} {phase.layout}, {source}"
        print(f"  {of}: healthy {phase.seconds:.0f} s, {number} false")
        for text in phase.false[source] if verbose else ():
            print("     ", text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make eval", description=__doc__)
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="of: %(default)s")
    parser.add_argument("--layouts", default=",".join(LAYOUTS), help="of: %(default)s")
    parser.add_argument("--source", default="both", choices=[*SOURCES, "both"])
    parser.add_argument("--faults", help="only these, by name")
    parser.add_argument("--injections", type=int, default=240, help="in all (%(default)s)")
    parser.add_argument(
        "--healthy", type=float, default=0.0, metavar="MINUTES",
        help="of each program, without any injection",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="default: a random one, printed")
    parser.add_argument("--interval", type=float, default=1.0, help="of the probe (%(default)s)")
    parser.add_argument("--probe", default="", help="more options of the probe, as one word")
    parser.add_argument(
        "--why", action="store_true", help="also ask blame and why during each fault"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--add", action="store_true", help="to the results that are there")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--only-page", action="store_true", help="from --results, without a run")
    parser.add_argument(
        "--merge", type=Path, nargs="*", default=[], metavar="FILE",
        help="with --only-page: results besides --results",
    )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="print each false stall")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
