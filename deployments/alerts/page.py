"""Every alert as a Markdown page, in the words that it sends: ``python -m deployments.alerts.page``.

``docs/alerts.md`` is what this prints; a test compares them, so that a message and the page that it names cannot differ.
"""

import textwrap
from collections.abc import Iterator

from deployments.alerts.alert import Alert
from deployments.alerts.catalogue import ALERTS

_HEADING = """# Alerts

What openbell tells a person, when, what it means for the account, and what to do. A message has the same words, and names its section here.
This page is generated: `python -m deployments.alerts.page > docs/alerts.md`.

## Setting up

1. Say where alerts go, in the environment of `openbell deploy` (or `openbell up`, which deploys). One is enough; each becomes a notification
   block on the Prefect server under a fixed name, and stays there when the variable is gone:

   | variable | block | value |
   | --- | --- | --- |
   | `OPENBELL_ALERT_WEBHOOK_URL` | `custom-webhook/openbell-alerts` | address that takes JSON by POST: `{"subject": ..., "text": ...}` |
   | `OPENBELL_ALERT_SLACK_URL` | `slack-webhook/openbell-alerts` | a Slack incoming webhook |
   | `OPENBELL_ALERT_SMTP_URL` | `openbell-email/openbell-alerts` | `smtp://USER:PASSWORD@HOST:587` (STARTTLS), `smtps://USER:PASSWORD@HOST:465`, or `smtp+plain://127.0.0.1:25` for a mail server on this machine; with it `OPENBELL_ALERT_EMAIL_FROM` (one address) and `OPENBELL_ALERT_EMAIL_TO` (addresses, apart by comma). `%40` for an @ in a name or password |

   Or make blocks in the UI under Blocks, of any kind that can notify (E-mail is Openbell Email there), and name them:

       [alerts]
       blocks = ["slack-webhook/ops", "openbell-email/night"]

   Secrets are in blocks and never in `openbell.toml`. Where there is no block at all, no one is told, and `openbell deploy` says so.
2. `openbell deploy` makes an automation for each alert, named `openbell: ...`. It may be run as often as you like: what is the same stays, what
   differs is changed, alerts of ours that are no longer wanted are removed, other automations are not touched. One that was switched off in
   the UI stays off.
3. `openbell alerts` shows who is told of what. `openbell alerts --test` sends a message everywhere and says whether each was taken
   (exit code 1 where one was not).

## How often

An alert comes at once. After that it is silent about the same subject (session, deployment or machine) for `repeat_minutes` (60), and comes again
with the first event after that: never more than one in a window. Windows follow each other, so that one at the end of a window and one at the
beginning of the next can be close together. `session-not-started` comes once for each run, `no-worker` once each time that the last
worker is gone.

    [alerts]
    repeat_minutes = 60
    repeat_minutes_of = { halted = 15, "disk-full" = 240 }
    off = ["policy-failing"]

## What alerts cannot tell

- They are sent by the Prefect server: when its machine is down, nobody is told. Let something else ask its `/api/health` every minute.
- A server that was away longer than `no_heartbeat_minutes` takes a session that traded on for dead: the alert says how to tell.
- A webhook that answers with an error is tried four times in a row, mail three times within five seconds; then the message is lost. The run, the event
  and the ledger have what it said. Prefect's server writes the address of a webhook that refused into its log: keep that to yourself.
- A server that is too busy tells late. `openbell up` and `openbell server` let it remember for 15 minutes what should have come; another server needs
  `PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER=PT15M`, or forgets after one.
- Sessions that a person starts with `openbell session` are no runs of a deployment: of their run nobody is told, of their halts, discrepancies and
  alarms everybody is, where a Prefect server is set.

## The alerts
"""


def page() -> str:
    """The whole page."""
    rows = [f"| [{name}](#{name}) | {alert.when} |" for name, alert in ALERTS.items()]
    table = "\n".join(["| alert | sent when |", "| --- | --- |", *rows])
    return "\n".join([f"{_HEADING}\n{table}", *(line for alert in ALERTS.values() for line in _section(alert)), ""])


def _section(alert: Alert) -> Iterator[str]:
    yield f"\n### {alert.name}\n"
    yield _wrapped(f"**When.** {alert.when} Automation `{alert.title}`.")
    yield ""
    yield _wrapped(f"**What it means.** {alert.meaning}")
    yield "\n**What to do.**\n"
    for number, step in enumerate(alert.steps, 1):
        yield _wrapped(f"{number}. {step}", "   ")


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 150, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    print(page(), end="")
