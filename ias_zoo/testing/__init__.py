"""The conformance kit: what every method of the zoo promises, as tests that a plugin's author runs in three lines.

::

    from ias_zoo.testing import conformance

    test_contract = conformance("my_method")

Each check becomes one pytest test. Which ones run follows from what the method says about itself (``accepts``,
``exact_mask``). A check that a method is known to fail is named with its reason, and fails the suite again on the day
it passes::

    test_contract = conformance("my_method", expected_failures={"seeds_differ": "it has nothing random"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ias_zoo.testing import features as features  # adds its checks to the list
from ias_zoo.testing.checks import CHECKS, Check
from ias_zoo.testing.subject import Subject

__all__ = ["CHECKS", "Check", "Subject", "checks_for", "conformance"]


def checks_for(subject: Subject) -> list[Check]:
    """The checks that apply to a method, by what it says about itself."""
    return [check for check in CHECKS if check.applies(subject.method)]


def conformance(
    name: str, *, base: str | None = None, expected_failures: Mapping[str, str] | None = None, **options: Any
) -> Callable[[Check], None]:
    """Make a pytest test function that runs every check that applies to the method ``name``.

    Parameters
    ----------
    name:
        The method's name, as ``ias_zoo.load`` takes it; its plugin must be installed.
    base:
        A small model to start from, for methods that train; they are fitted on a toy set.
    expected_failures:
        Check name to reason; strict: such a check must fail.
    **options:
        Options to load the method with.

    Raises
    ------
    ValueError
        If ``expected_failures`` names a check that does not exist or does not apply.
    """
    import pytest

    subject = Subject(name, options, base)
    expected = dict(expected_failures or {})
    checks = checks_for(subject)
    unknown = set(expected) - {check.name for check in checks}
    if unknown:
        raise ValueError(f"expected_failures names no check that applies to {name}: {', '.join(sorted(unknown))}")
    params = [
        pytest.param(
            check,
            id=f"{name}-{check.name}",
            marks=[pytest.mark.xfail(reason=expected[check.name], strict=True)] if check.name in expected else [],
        )
        for check in checks
    ]

    @pytest.mark.parametrize("check", params)
    def test(check: Check) -> None:
        check.run(subject)

    return test
