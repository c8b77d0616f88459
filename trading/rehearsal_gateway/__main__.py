"""``python -m trading.rehearsal_gateway``: a gateway over a stepped market, for programs that drive it."""

import argparse
import asyncio
import json
import sys
from datetime import date, timedelta

from trading.calendar import TradingCalendar
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.server import RehearsalGateway
from trading.rehearsal_gateway.stepped_market import SteppedMarket


async def serve(asked: argparse.Namespace) -> None:
    """Serve until the process is ended."""
    hours = TradingCalendar("XNYS", asked.date).hours(asked.date)
    market = SteppedMarket(asked.symbols.split(","), hours, hours.opens_at - timedelta(minutes=5))
    gateway = RehearsalGateway(market, GatewaySettings(port=asked.port, control_port=asked.control))
    await gateway.start()
    sys.stdout.write(json.dumps({"port": gateway.port}) + "\n")
    sys.stdout.flush()
    await gateway.play()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m trading.rehearsal_gateway", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=None)
    parser.add_argument("--date", type=date.fromisoformat, default=date(2026, 11, 20))
    parser.add_argument("--symbols", default="SPY")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
