"""Moments as the wire writes them, in the three ways that Interactive Brokers has: with a zone, without, and in UTC.

``US/Eastern`` and the like: "20240102 09:31:05 US/Eastern"; ``none``: "20240102  09:31:05" on the exchange's wall, which says no zone
(as an old TWS); ``UTC``: "20240102-14:31:05".
"""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from trading.errors import ConfigurationError

NO_ZONE, IN_UTC = "none", "UTC"
_OLD_NAMES = {"America/New_York": "US/Eastern", "America/Chicago": "US/Central", "Europe/London": "GB-Eire"}
"""How TWS calls the zones of exchanges."""
_ASKED = re.compile(r"(\d{8})(-| {1,2})(\d{1,2}:\d{2}:\d{2})(?: (\S+))?")
_ZONES_BY_SHORT_NAME = {"EST": "US/Eastern", "EDT": "US/Eastern", "CST": "US/Central", "GMT": "UTC", "UTC": "UTC"}


class UnreadableTime(ValueError):
    """A time that a client wrote in none of the ways that TWS reads."""


class WireTimes:
    """``style`` is the name of a zone, ``none`` or ``UTC``; where it is empty, the exchange's zone as TWS calls it.

    Raises ``ConfigurationError`` for a zone that is not known.
    """

    def __init__(self, exchange_zone: ZoneInfo, style: str = "") -> None:
        self.exchange_zone_name = _OLD_NAMES.get(exchange_zone.key, exchange_zone.key)
        self.style = style or self.exchange_zone_name
        self.zone = exchange_zone
        if self.style not in (NO_ZONE, IN_UTC):
            try:
                self.zone = ZoneInfo(self.style)
            except (KeyError, ValueError, OSError) as error:
                raise ConfigurationError(
                    f"There is no time zone {self.style!r}. Name one such as US/Eastern or Europe/Berlin, UTC, or none "
                    "for times that do not say."
                ) from error

    def moment(self, moment: datetime) -> str:
        """Date and time of day, whole seconds."""
        if self.style == IN_UTC:
            return f"{moment.astimezone(UTC):%Y%m%d-%H:%M:%S}"
        local = moment.astimezone(self.zone)
        return f"{local:%Y%m%d  %H:%M:%S}" if self.style == NO_ZONE else f"{local:%Y%m%d %H:%M:%S} {self.style}"

    def asked(self, text: str) -> datetime:
        """A moment that a client asks for, aware UTC. Raises ``UnreadableTime``.

        Without a zone it is meant in the zone of this gateway; with a hyphen in UTC.
        """
        match = _ASKED.fullmatch(text.strip())
        if match is None:
            raise UnreadableTime(text)
        day, between, of_day, zone_name = match.groups()
        if between == "-" and zone_name is None:
            zone_name = "UTC"
        try:
            zone = self.zone if zone_name is None else ZoneInfo(_ZONES_BY_SHORT_NAME.get(zone_name, zone_name))
            naive = datetime.strptime(f"{day} {of_day}", "%Y%m%d %H:%M:%S")  # noqa: DTZ007 - its zone is beside it
        except (KeyError, ValueError, OSError) as error:
            raise UnreadableTime(text) from error
        return naive.replace(tzinfo=zone).astimezone(UTC)
