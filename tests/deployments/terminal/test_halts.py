"""Halting and clearing from the terminal, and what a session makes of it."""

from collections.abc import Callable
from typing import Any

Command = Callable[..., Any]


def test_a_halt_refuses_the_next_session_until_it_is_cleared(openbell: Command) -> None:
    halted = openbell("halt", "--reason", "the feed is wrong", "--json")
    assert (halted.code, halted.answer["halted"]) == (0, "all")

    refused = openbell("session", "--json")
    assert refused.code == 3
    assert "the feed is wrong" in refused.answer["message"]
    assert "openbell resume" in refused.answer["message"]

    cleared = openbell("resume", "--json")
    assert (cleared.code, cleared.answer["cleared"], cleared.answer["standing"]) == (0, 1, [])


def test_a_halt_is_cleared_under_its_own_scope_only(openbell: Command) -> None:
    openbell("halt", "--reason", "earnings", "--scope", "symbol:SPY")
    everywhere = openbell("resume", "--json")
    assert everywhere.answer["cleared"] == 0
    assert [one["scope"] for one in everywhere.answer["standing"]] == ["symbol:SPY"]
    assert openbell("resume", "--scope", "symbol:SPY", "--json").answer["standing"] == []


def test_a_scope_that_is_none_is_refused_with_an_example(openbell: Command) -> None:
    outcome = openbell("halt", "--reason", "x", "--scope", "SPY", "--json")
    assert outcome.code == 2
    assert "account:paper" in outcome.answer["message"]
