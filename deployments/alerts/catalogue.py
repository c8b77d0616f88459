"""All alerts, by name."""

from deployments.alerts.alert import Alert
from deployments.alerts.machine_alerts import MACHINE_ALERTS
from deployments.alerts.session_alerts import SESSION_ALERTS
from deployments.alerts.trading_alerts import TRADING_ALERTS
from trading.alert_settings import AlertName

ALERTS: dict[AlertName, Alert] = {alert.name: alert for alert in (*SESSION_ALERTS, *TRADING_ALERTS, *MACHINE_ALERTS)}
