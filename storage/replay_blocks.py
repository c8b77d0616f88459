"""Decisions and equity of many bars, from the columns of a replay to the tables without a Python object per row."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

from storage.columns import integers, moments, money, words
from storage.connection import Connection
from storage.fact_table import MARKS, exact
from storage.facts import DECISIONS, EQUITY
from trading.decisions import Action
from trading.money import MICROS_PER_UNIT
from trading.ports import ReplayBlock

_ACTIONS: list[str] = [Action.SELL, Action.HOLD, Action.BUY]
"""In the order of their codes -1, 0, 1."""


def write_blocks(
    connection: Connection, blocks: Sequence[ReplayBlock], marks: Mapping[str, Decimal], absorb: bool
) -> None:
    """Insert the blocks' decisions (only of symbols that were present) and equity; ``marks`` go to the last bar."""
    filled = [block for block in blocks if len(block.bar_time)]
    if not filled:
        return
    decisions = pa.concat_tables(map(_decisions, filled), promote_options="default").unify_dictionaries()
    DECISIONS.write_columns(connection, decisions, absorb)
    newest: list[Mapping[str, Decimal]] = [{} for _ in filled[:-1]] + [marks]
    equity = pa.concat_tables(_equity(block, held) for block, held in zip(filled, newest, strict=True))
    EQUITY.write_columns(connection, equity.unify_dictionaries(), absorb)


def _decisions(block: ReplayBlock) -> pa.Table:
    rows, columns = np.nonzero(block.present)
    count = len(rows)
    told: dict[str, pa.Array] = {}
    for name, numbers in (("confidence", block.confidence), ("target_weight", block.target_weight)):
        if numbers is not None:
            said = numbers[rows, columns]
            told[name] = pa.array(said, mask=np.isnan(said))
    for name, texts in (("error", block.errors), ("note", block.notes)):
        if texts:
            told[name] = pa.array(
                [texts.get(place) for place in zip(rows.tolist(), columns.tolist(), strict=True)], pa.string()
            )
    return pa.table(
        {
            **told,
            "session_id": _same(block.session_id, count),
            "bar_time": moments(block.bar_time[rows]),
            "symbol": words(columns, list(block.symbols)),
            "action": words(block.action[rows, columns].astype(np.int32) + 1, _ACTIONS),
            "target_quantity": integers(block.target[rows, columns]),
            "latency_ms": pa.array(np.zeros(count)),
        }
    )


def _equity(block: ReplayBlock, marks: Mapping[str, Decimal]) -> pa.Table:
    count = len(block.bar_time)
    drawdown = np.rint(block.drawdown * MICROS_PER_UNIT).astype(np.int64)
    newest = [(symbol, exact(price)) for symbol, price in marks.items()]
    unmarked = pa.nulls(count - 1, MARKS)
    return pa.table(
        {
            "session_id": _same(block.session_id, count),
            "bar_time": moments(block.bar_time),
            "cash": money(block.cash),
            "market_value": money(block.market_value),
            "equity": money(block.cash + block.market_value),
            "realized_pnl": money(block.realized_pnl),
            "unrealized_pnl": money(block.unrealized_pnl),
            "drawdown": money(drawdown),
            "marks": pa.chunked_array([unmarked, pa.array([newest or None], MARKS)]),
        }
    )


def _same(value: str, count: int) -> pa.Array:
    return words(np.zeros(count, dtype=np.int32), [value])
