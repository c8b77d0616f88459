"""A replay as a picture: equity and drawdown, day by day, or bar by bar where it is only a few days."""

from datetime import UTC, datetime, time

from storage.replayed_sessions import equity_of_account
from storage.visit import read_from
from tasks.charts import equity_chart, picture
from tasks.session_replays import SessionReplay

_BAR_BY_BAR_UP_TO = 5
"""Sessions."""


def pictures_of(replay: SessionReplay) -> list[str]:
    """Markdown with the picture in it; none where there is nothing to draw."""
    days = replay.figures()
    if len(days) > _BAR_BY_BAR_UP_TO:
        points = [
            (datetime.combine(one.record.session_date, time(), UTC), one.ending_equity, one.max_drawdown)
            for one in days
        ]
    else:
        last = days[-1].record.session_date if days else None
        of_account = read_from(
            replay.settings.store.path, lambda store: equity_of_account(store.connection, replay.account)
        )
        points = [point for point in of_account if last is not None and point[0].date() <= last]
    if len(points) < 2:
        return []
    times, equity, drawdown = zip(*points, strict=True)
    png = equity_chart(times, [float(one) for one in equity], [float(one) for one in drawdown], None)
    return [picture("Equity and drawdown", png)]
