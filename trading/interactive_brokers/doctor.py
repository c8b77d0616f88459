"""What is wrong between this machine and a gateway: whether one is there, whether it lets us in, and then what a visit to it finds.

The rule: nothing is ordered.
"""

from collections.abc import Iterator

from trading.checks import Check, bad, ok, refused
from trading.errors import BrokerNotReady, OpenbellError
from trading.ib_settings import IbSettings
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.gateway_visit import Examined, GatewayVisit, Heard
from trading.interactive_brokers.greeting import Greeted, Listener, greet

_GREETED_WITHIN_SECONDS = 5.0

GATEWAY_SETTINGS = (
    "In TWS: File > Global Configuration > API > Settings; in IB Gateway: Configure > Settings > API > Settings.",
    "Enable ActiveX and Socket Clients: on (IB Gateway has it on always).",
    "Read-Only API: off, or every order is refused.",
    "Socket port: the one in broker.ib.port (4002 Gateway paper, 4001 Gateway live, 7497 TWS paper, 7496 TWS live).",
    "Trusted IPs: the address of this machine; 127.0.0.1 with 'Allow connections from localhost only' where both are one.",
    "Download open orders on connection: on.",
    "Master API client ID: empty, or broker.ib.client_id; another client that has it sees and may change these orders.",
    "Send instrument-specific attributes in: the time zone of the operator; broker.ib.timezone names the one the gateway runs in.",
    "Lock and Exit: Auto restart, at the time in broker.ib.restart_at; the weekly login with a second factor stays a person's.",
)
"""What a session needs of the gateway's own settings, in the words that stand there."""


def examine(asked: Examined) -> Iterator[Check]:
    """One check after the other, as they are done; those that need a connection only where there is one."""
    settings = asked.settings
    greeted = greet(settings.host, settings.port, _GREETED_WITHIN_SECONDS)
    found = _greeting(settings, greeted)
    yield found
    if greeted.listener is not Listener.GATEWAY:
        return
    heard = Heard()
    connection = GatewayConnection(settings)
    connection.listen(heard.hear)
    contracts = Contracts(connection)
    try:
        connection.open()
    except BrokerNotReady as error:
        # Where the line came about, what is wrong is whose account it is.
        subject = "account" if error.__cause__ is None else "login"
        yield refused(subject, error)
        return
    except OpenbellError as error:
        yield bad("login", str(error), "Ask again; if that helps nothing, restart the gateway.")
        return
    try:
        yield from GatewayVisit(asked, connection, contracts, heard).checks()
    finally:
        connection.close()


def _greeting(settings: IbSettings, greeted: Greeted) -> Check:
    where, subject = f"{settings.host}:{settings.port}", "gateway"
    match greeted.listener:
        case Listener.GATEWAY:
            return ok(subject, f"{where} speaks the TWS protocol, version {greeted.server_version}")
        case Listener.NOBODY:
            return bad(
                subject,
                f"nobody listens at {where}: the connection is refused",
                "Start TWS or IB Gateway and log in; enable its API (socket clients) on this port, or set broker.ib.port to its own. To "
                "rehearse, start 'openbell gateway'.",
            )
        case Listener.NO_NAME:
            return bad(subject, f"the host {settings.host} is not known ({greeted.words})", "Mend broker.ib.host.")
        case Listener.NO_WAY:
            return bad(
                subject,
                f"{where} does not answer ({greeted.words})",
                "Look whether that machine is on, and whether a firewall lets this port through.",
            )
        case Listener.SHUTS_THE_DOOR:
            return bad(
                subject,
                f"{where} takes the connection and closes it before a word",
                "Add this machine's address to the gateway's trusted IPs, and switch off 'Allow connections from localhost only' where "
                "it is another machine; or the API is not enabled.",
            )
        case Listener.SILENT:
            return bad(
                subject,
                f"{where} takes connections and says nothing",
                "Look at the gateway's window: it waits for its login or second factor, or asks whether to accept this connection.",
            )
        case Listener.SOMETHING_ELSE:
            return bad(
                subject,
                f"{where} is no TWS and no IB Gateway: it says {greeted.words!r}",
                "Set broker.ib.port to the gateway's API port.",
            )
