"""What was tried of an image, how long it took and whether it was as wanted."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployments.image.container import DidNotEnd

Say = Callable[[str], None]
LAST_LINES = 12  # of a command's output, when it is not as wanted


class CheckFailed(Exception):
    """Something is not as wanted; the text says what."""


class GroupEnded(Exception):
    """What follows needs the check that has just failed."""


@dataclass
class Check:
    """One claim; seconds are those of the whole check, figures explain it (units are in their names)."""

    name: str
    passed: bool = False
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


@dataclass
class Checks:
    """Checks in the order in which they were made."""

    say: Say
    made: list[Check] = field(default_factory=list)

    @contextmanager
    def check(self, name: str, *, needed: bool = False) -> Iterator[Check]:
        """Make a check of the block: it passes unless the block raises CheckFailed or something does not end.

        Raises GroupEnded when it fails and is needed by what follows.
        """
        check = Check(name)
        self.made.append(check)
        began = time.monotonic()
        try:
            yield check
            check.passed = True
        except (CheckFailed, DidNotEnd, subprocess.TimeoutExpired) as error:
            check.problem = str(error)
        check.seconds = round(time.monotonic() - began, 2)
        self.say(f"  {'ok    ' if check.passed else 'FAILED'} {check.seconds:6.1f} s  {name}")
        if not check.passed:
            self.say(f"         {check.problem}")
            if needed:
                raise GroupEnded(name)

    @property
    def failed(self) -> list[Check]:
        """Return the checks that did not pass."""
        return [check for check in self.made if not check.passed]


def require(condition: object, problem: str) -> None:
    """Raise CheckFailed with the problem unless the condition holds."""
    if not condition:
        raise CheckFailed(problem)


def require_success(done: subprocess.CompletedProcess[str], what: str) -> str:
    """Return a command's standard output; raises CheckFailed with its last lines when it did not end with 0."""
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-LAST_LINES:]
        raise CheckFailed("\n".join([f"{what} ended with {done.returncode}:", *lines]))
    return done.stdout
