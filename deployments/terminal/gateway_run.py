"""The gateway while it runs: started, told of in words, and stopped by a signal, by its door or at the end of the day."""

import asyncio
import json
import signal
import sys

from deployments.terminal.answer import aside
from tasks.gateway_composition import GatewayAsked, Rehearsal, assemble_gateway
from trading.errors import ConfigurationError
from trading.settings import Settings

HOST = "127.0.0.1"


def serve(settings: Settings, asked: GatewayAsked, exit_at_end: bool, as_json: bool) -> None:
    """Play until the gateway is told to stop, or (``exit_at_end``) to the end of its day.

    With ``as_json``, or where there is a control door, one JSON line on stdout says the ports when clients can connect.
    """
    asyncio.run(_serve(settings, asked, exit_at_end, as_json))


async def _serve(settings: Settings, asked: GatewayAsked, exit_at_end: bool, as_json: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    rehearsal = assemble_gateway(settings, asked)
    gateway = rehearsal.gateway
    try:
        await _open(rehearsal, asked)
        if as_json or asked.control_port is not None:
            sys.stdout.write(json.dumps({"port": gateway.port, "control": gateway.control_port}) + "\n")
            sys.stdout.flush()
        _say(rehearsal, asked)
        await _play(rehearsal, exit_at_end, (stopped, gateway.stop_asked))
    finally:
        await gateway.stop()
    aside().print("The gateway has stopped.")


async def _open(rehearsal: Rehearsal, asked: GatewayAsked) -> None:
    try:
        await rehearsal.gateway.start()
    except OSError as error:
        ports = f"Port {asked.port}" if not asked.control_port else f"Port {asked.port} or {asked.control_port}"
        raise ConfigurationError(
            f"{ports} of {HOST} cannot be opened: {error.strerror or error}. A TWS, an IB Gateway or another rehearsal may run "
            "there. Name another with --port (--control), or 0 for any free one."
        ) from error


async def _play(rehearsal: Rehearsal, exit_at_end: bool, stops: tuple[asyncio.Event, ...]) -> None:
    """Play until one of ``stops``, or the end where that is wanted. What goes wrong while it plays is raised."""
    played = asyncio.create_task(rehearsal.gateway.play())
    told = [asyncio.create_task(stop.wait()) for stop in stops]
    try:
        await asyncio.wait([*told, played], return_when=asyncio.FIRST_COMPLETED)
        if played.done():
            played.result()
            if not exit_at_end:
                await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*told, played):
            task.cancel()
        await asyncio.gather(*told, played, return_exceptions=True)


def _say(rehearsal: Rehearsal, asked: GatewayAsked) -> None:
    hours, market = rehearsal.hours, rehearsal.market
    day = f"{hours.session_date:%A} {hours.session_date.isoformat()}"
    session = f"{hours.local(hours.opens_at):%H:%M}-{hours.local(hours.closes_at):%H:%M}"
    named = ", ".join(market.symbols[:8]) + (f" and {len(market.symbols) - 8} more" if len(market.symbols) > 8 else "")
    if asked.speed is None:
        pace = "time moves by the control door only"
    else:
        waits = " once a client asks for live data or sends an order" if asked.waits_for_client else ""
        pace = f"from {hours.local(market.now()):%H:%M:%S} on at {asked.speed:g} times real time{waits}"
    say = aside().print
    say(
        f"Rehearsal of {day} ({session} {hours.zone.key}), {rehearsal.mode} bars of {named} from {rehearsal.bars}: {pace}."
    )
    say(
        f"Clients connect to {HOST}, port {rehearsal.gateway.port}, as to TWS or IB Gateway; account "
        f"{', '.join(asked.accounts)}. Nothing is sent to any broker."
    )
    if rehearsal.gateway.control_port is not None:
        say(f"Control door: {HOST}, port {rehearsal.gateway.control_port}.")
    say("Stop it with Ctrl-C.")
