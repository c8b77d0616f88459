"""The replay job in backtrader: run by its own Python, knows nothing of openbell but the file of bars.

    python backtrader_job.py BARS.csv SYMBOLS

Reads rows of symbol, session's last bar or not, time in microseconds, open, high, low, close, volume; prints one JSON
object. The rules are openbell's where backtrader leaves a choice: nothing is sent on a session's last bar (a
DAY order would expire there), equity for sizing is at the close of the bar that is decided on, a held position is kept.
"""

import csv
import datetime
import json
import math
import sys
import time
from collections import defaultdict

import backtrader as bt

EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - backtrader's numbers are of naive times


class Bars(bt.feed.DataBase):
    """Bars from a list of rows."""

    params = (("rows", ()),)

    def start(self):
        super().start()
        self._left = iter(self.p.rows)

    def _load(self):
        row = next(self._left, None)
        if row is None:
            return False
        when, first, highest, lowest, last, volume = row
        self.lines.datetime[0] = when
        self.lines.open[0] = first
        self.lines.high[0] = highest
        self.lines.low[0] = lowest
        self.lines.close[0] = last
        self.lines.volume[0] = volume
        self.lines.openinterest[0] = 0
        return True


class PerShare(bt.CommInfoBase):
    """max(1, 0.005 a share), and the whole price of a share in cash."""

    params = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_FIXED))

    def _getcommission(self, size, price, pseudoexec):
        del price, pseudoexec  # backtrader's signature
        return max(1.0, 0.005 * abs(size))


class SmaCross(bt.Strategy):
    """Long while the 20-bar mean is above the 50-bar mean, out while it is below."""

    params = (("session_ends", frozenset()), ("fraction", 0.95))

    def __init__(self):
        self.averages = [(bt.ind.SMA(data.close, period=20), bt.ind.SMA(data.close, period=50)) for data in self.datas]
        self.fills = 0
        self.rejected = 0
        self.wrong_ties = 0
        self.wrong_floors = 0

    def notify_order(self, order):
        self.fills += order.status == order.Completed
        self.rejected += order.status in (order.Margin, order.Rejected)

    def next(self):
        if self.datas[0].datetime[0] in self.p.session_ends:
            return
        equity = None
        for data, (fast, slow) in zip(self.datas, self.averages, strict=True):
            raw = fast[0] - slow[0]
            # Closes are whole cents, so the means differ by a multiple of 0.0001 or not at all: the rest is float noise.
            lead = round(raw, 6)
            self.wrong_ties += (lead > 0, lead < 0) != (raw > 0, raw < 0)
            held = self.getposition(data).size
            if lead > 0 and held == 0:
                if equity is None:
                    equity = self.broker.getvalue()
                wanted = self.p.fraction * equity / data.close[0]
                # A size that is whole in exact numbers may lie a hair below in floats.
                size = math.floor(wanted + 1e-9)
                self.wrong_floors += size != math.floor(wanted)
                if size:
                    self.buy(data=data, size=size)
            elif lead < 0 and held > 0:
                self.sell(data=data, size=held)


def main(path, symbols):
    rows, ends = defaultdict(list), set()
    with open(path, newline="") as file:
        for symbol, is_last, moment, *numbers in csv.reader(file):
            when = bt.date2num(EPOCH + datetime.timedelta(microseconds=int(moment)))
            rows[symbol].append((when, *map(float, numbers)))
            if is_last == "1":
                ends.add(when)

    started = time.perf_counter()
    cerebro = bt.Cerebro(stdstats=False)
    for symbol in list(rows)[:symbols]:
        cerebro.adddata(Bars(rows=rows[symbol], timeframe=bt.TimeFrame.Minutes, name=symbol))
    cerebro.broker.set_cash(100_000.0)
    cerebro.broker.addcommissioninfo(PerShare())
    cerebro.addstrategy(SmaCross, session_ends=frozenset(ends), fraction=0.95 / symbols)
    [strategy] = cerebro.run()
    seconds = time.perf_counter() - started
    answer = {
        "engine": f"backtrader {bt.__version__}",
        "seconds": seconds,
        "symbol_bars": sum(len(columns) for columns in list(rows.values())[:symbols]),
        "equity": cerebro.broker.getvalue(),
        "fills": strategy.fills,
        "rejected": strategy.rejected,
        "wrong_ties": strategy.wrong_ties,
        "wrong_floors": strategy.wrong_floors,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
