"""Variables of the environment that are of no option."""

from __future__ import annotations

from collections.abc import Mapping

from xctl_probe.config.option import ENV
from xctl_probe.config.options import OPTIONS

_ALIKE = 0.75  # of names, at least: PORT, which Kubernetes sets of a service, is not FORMAT
_MOST_UNKNOWN = 3  # that are named


def unknown_variables(environ: Mapping[str, str]) -> str | None:
    """Return what to report of variables that have the prefix and are of no option, or None.

    They are no mistake: another program may have the prefix, too.
    """
    known = {option.variable: option.hidden for option in OPTIONS if option.variable}
    unknown = sorted(n for n in environ if n.startswith(ENV) and n not in known)
    if not unknown:
        return None
    offered = [name.removeprefix(ENV) for name, hidden in known.items() if not hidden]
    named = ", ".join(_with_alike(name, offered) for name in unknown[:_MOST_UNKNOWN])
    rest = len(unknown) - _MOST_UNKNOWN
    more = f" and {rest} more" if rest > 0 else ""
    return f"ignored, because no option has it: {named}{more}"


def _with_alike(variable: str, offered: list[str]) -> str:
    import difflib  # noqa: PLC0415 - for a mistake

    alike = difflib.get_close_matches(variable.removeprefix(ENV), offered, n=1, cutoff=_ALIKE)
    return f"{variable} (did you mean {ENV}{alike[0]}?)" if alike else variable
